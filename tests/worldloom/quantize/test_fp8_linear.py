"""FP8 linear layers: the formula, bounded rounding, plain tensors, refusals."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from worldloom.errors import MachineError
from worldloom.quantize.fp8_linear import Fp8Linear, require_fp8


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear(inputs, outputs):
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(draw(outputs, inputs, seed=1))
        layer.bias.copy_(draw(outputs, seed=2))
    return layer.requires_grad_(requires_grad=False)


def test_layer_equals_its_formula():
    layer, inputs = linear(128, 64), draw(5, 7, 128)
    made = Fp8Linear.from_linear(layer)
    x_scale = inputs.abs().amax(-1, keepdim=True) / 448
    x = (inputs / x_scale).to(torch.float8_e4m3fn).double() * x_scale
    w = made.weight.double() * made.weight_scale[:, None]
    assert (w - layer.weight).abs().max() < 0.04 * layer.weight.abs().max()
    expected = (x @ w.t() + layer.bias).float()
    torch.testing.assert_close(made(inputs), expected, rtol=1e-5, atol=1e-4)


def test_rounding_costs_less_than_four_percent():
    layer, inputs = linear(256, 256), draw(100, 256)
    expected = layer(inputs)
    error = (Fp8Linear.from_linear(layer)(inputs) - expected).norm() / expected.norm()
    assert error < 0.04


def test_zero_tokens_give_the_bias_and_large_ones_stay_finite():
    layer = Fp8Linear.from_linear(linear(64, 32))
    assert torch.equal(layer(torch.zeros(2, 64))[0], layer.bias)
    assert layer(1e6 * draw(2, 64)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_has_the_inputs_dtype_and_shape(dtype):
    output = Fp8Linear.from_linear(linear(64, 32).to(dtype))(draw(2, 3, 64).to(dtype))
    assert output.dtype == dtype
    assert output.shape == (2, 3, 32)


def test_state_is_plain_fp8_and_survives_safetensors():
    layer = Fp8Linear.from_linear(linear(64, 32))
    state = load(save(layer.state_dict()))
    assert state["weight_fp8"].dtype == torch.float8_e4m3fn
    again = Fp8Linear(64, 32)
    again.load_state_dict(state)
    inputs = draw(9, 64)
    assert torch.equal(again(inputs), layer(inputs))


def test_odd_shapes_and_other_devices_are_refused_with_the_reason():
    assert Fp8Linear.unsupported_reason(64, 32) is None
    assert "in_features=24" in str(Fp8Linear.unsupported_reason(24, 32))
    with pytest.raises(ValueError, match="out_features=24"):
        Fp8Linear(64, 24)
    with pytest.raises(MachineError, match="FP8 on the CPU"):
        require_fp8(torch.device("cpu"))
