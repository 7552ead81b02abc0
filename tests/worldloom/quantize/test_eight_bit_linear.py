"""8-bit layers in a network that changes its type, its device or its memory."""

import pytest
import torch
from torch import nn

from worldloom.quantize.fp8_linear import Fp8Linear
from worldloom.quantize.linear import Int8Linear

KINDS = [Int8Linear, Fp8Linear]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_scales_stay_what_they_are_when_a_network_changes_its_type(kind):
    layer = kind.from_linear(nn.Linear(64, 32))
    weight, scale = layer.weight.clone(), layer.weight_scale.clone()
    nn.Sequential(layer).to(torch.bfloat16)
    assert layer.weight.dtype == kind.row_format
    assert torch.equal(layer.weight.float(), weight.float())
    assert torch.equal(layer.weight_scale, scale)
    assert layer.bias.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_without_memory_is_given_some(kind):
    with torch.device("meta"):
        layer = kind(64, 32)
    layer.to_empty(device="cpu")
    layer.load_state_dict(kind.from_linear(nn.Linear(64, 32)).state_dict())
    assert layer(torch.ones(1, 64)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_conversion_keeps_the_bias_as_it_is(kind):
    linear = nn.Linear(64, 32).to(torch.bfloat16)
    layer = kind.from_linear(linear)
    assert torch.equal(layer.bias, linear.bias)
    assert kind.from_linear(nn.Linear(64, 32, bias=False)).bias is None
