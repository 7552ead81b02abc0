"""Beside 8-bit layers everything is kept in 16 bits, and comes back as it was compared."""

from __future__ import annotations

import torch
from torch import nn

from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import load_quantized, quantize_linears
from worldloom.quantize.stored import round_to_stored, stored_bytes, stored_tensors


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64))


def quantized() -> nn.Sequential:
    module = network()
    quantize_linears(module, QuantizeLinearsConfig(keep=(r"^2$",)))
    return module


def test_a_module_in_full_precision_is_kept_as_it_is() -> None:
    module = network()
    assert stored_bytes(module) == sum(value.nbytes for value in module.state_dict().values())


def test_eight_bit_weights_and_their_scales_stay_and_the_rest_is_halved() -> None:
    kept = stored_tensors(quantized())
    kinds = {name: value.dtype for name, value in kept.items()}
    assert kinds["0.weight_int8"] == torch.int8
    assert kinds["0.weight_scale"] == torch.float32
    assert kinds["0.bias"] == kinds["1.weight"] == kinds["2.weight"] == torch.float16
    assert stored_bytes(quantized()) == 64 * 64 + 4 * 64 + 2 * (64 + 2 * 64 + 64 * 64 + 64)


def test_what_was_rounded_comes_back_the_same() -> None:
    module, inputs = quantized(), torch.randn(5, 64)
    exact = module(inputs)
    round_to_stored(module)
    back = network()
    load_quantized(back, stored_tensors(module))
    assert torch.equal(back(inputs), module(inputs))
    assert not torch.equal(module(inputs), exact)
    assert torch.allclose(module(inputs), exact, atol=5e-3)
