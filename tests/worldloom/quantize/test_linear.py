"""INT8 linear layers: exact integer sums, bounded rounding, plain tensors on disk."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from worldloom.quantize.linear import (
    Int8Linear,
    int8_matmul,
)
from worldloom.quantize.rows import quantize_rows


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(draw(outputs, inputs, seed=1))
        if bias:
            layer.bias.copy_(draw(outputs, seed=2))
    return layer


@pytest.mark.parametrize("rows", [1, 3, 16, 17, 200])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 32), (152, 64), (1024, 8)])
def test_integer_product_is_exact_at_any_number_of_tokens(
    rows: int, inputs: int, outputs: int
) -> None:
    generator = torch.Generator().manual_seed(rows)
    left = torch.randint(-127, 128, (rows, inputs), generator=generator, dtype=torch.int8)
    right = torch.randint(-127, 128, (outputs, inputs), generator=generator, dtype=torch.int8)
    expected = left.to(torch.int32) @ right.to(torch.int32).t()
    assert torch.equal(int8_matmul(left, right), expected)


def test_layer_equals_its_formula_in_integers() -> None:
    layer = linear(128, 64)
    inputs = draw(5, 7, 128)
    actual = Int8Linear.from_linear(layer)(inputs)
    x_scale = inputs.abs().amax(-1, keepdim=True) / 127
    w_scale = layer.weight.abs().amax(-1) / 127
    x_int = torch.round(inputs / x_scale).to(torch.int64)
    w_int = torch.round(layer.weight / w_scale[:, None]).to(torch.int64)
    sums = (x_int[..., None, :] * w_int).sum(-1)
    expected = sums * x_scale * w_scale + layer.bias
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-5)


def test_rounding_costs_less_than_two_percent() -> None:
    layer, inputs = linear(256, 256), draw(100, 256)
    expected = layer(inputs)
    error = (Int8Linear.from_linear(layer)(inputs) - expected).norm() / expected.norm()
    assert error < 0.02


def test_tokens_do_not_disturb_each_other() -> None:
    layer, inputs = Int8Linear.from_linear(linear(64, 64)), draw(20, 64)
    inputs[3] *= 1000
    torch.testing.assert_close(layer(inputs)[5:6], layer(inputs[5:6]), rtol=0, atol=0)


def test_zero_token_gives_the_bias() -> None:
    layer = linear(64, 32)
    assert torch.equal(Int8Linear.from_linear(layer)(torch.zeros(2, 64))[0], layer.bias.detach())
    assert quantize_rows(torch.zeros(2, 64))[1].min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_has_the_inputs_dtype_and_shape(dtype: torch.dtype) -> None:
    output = Int8Linear.from_linear(linear(64, 32, bias=False))(draw(2, 3, 64).to(dtype))
    assert output.dtype == dtype
    assert output.shape == (2, 3, 32)


def test_state_is_plain_int8_and_survives_safetensors() -> None:
    layer = Int8Linear.from_linear(linear(64, 32))
    state = load(save(layer.state_dict()))
    assert state["weight_int8"].dtype == torch.int8
    again = Int8Linear(64, 32)
    again.load_state_dict(state)
    inputs = draw(9, 64)
    assert torch.equal(again(inputs), layer(inputs))


@pytest.mark.parametrize(
    ("inputs", "outputs", "word"), [(6, 8, "in_features=6"), (8, 9, "out_features=9")]
)
def test_odd_shapes_are_refused_with_the_reason(inputs: int, outputs: int, word: str) -> None:
    assert word in str(Int8Linear.unsupported_reason(inputs, outputs))
    with pytest.raises(ValueError, match=word):
        Int8Linear(inputs, outputs)


def test_sums_that_could_overflow_are_refused() -> None:
    assert Int8Linear.unsupported_reason(133144, 8) is None
    assert "overflow" in str(Int8Linear.unsupported_reason(133152, 8))
