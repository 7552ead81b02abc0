"""Swapping layers by name, loading them again, and measuring what it cost."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from worldloom.errors import ArtifactError, ConfigError
from worldloom.quantize.convert import (
    QuantizeLinearsConfig,
    load_quantized,
    parity,
    quantize_linears,
    tell_slow_layers,
)
from worldloom.quantize.linear import Int8Linear


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.q(x) * self.k(x) + self.v(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.ffn = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ffn(self.self_attn(x))


class Network(nn.Module):
    def __init__(self, odd: int = 8) -> None:
        super().__init__()
        self.patch_embed = nn.Linear(6, 16)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.odd = nn.Linear(16, odd)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x)
        return self.odd(x)


def seeded(odd: int = 8) -> Network:
    network = Network(odd)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network


INPUTS = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1))


def test_attention_alone_is_converted_when_asked() -> None:
    network = seeded()
    names = quantize_linears(network, QuantizeLinearsConfig(layers="attention"))
    assert names == [f"blocks.{i}.self_attn.{n}" for i in (0, 1) for n in "qkvo"]
    assert isinstance(network.blocks[0].ffn[0], nn.Linear)


def test_all_means_all_but_what_is_kept() -> None:
    network = seeded()
    quantize_linears(network, QuantizeLinearsConfig())
    left = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    assert left == ["patch_embed"]
    assert isinstance(network.blocks[0].ffn[2], Int8Linear)


def test_unsupported_layer_is_refused_by_name_and_nothing_is_changed() -> None:
    network = seeded(odd=5)
    with pytest.raises(ConfigError, match=r"layer odd: out_features=5 is not a multiple of 8"):
        quantize_linears(network, QuantizeLinearsConfig())
    assert not any(isinstance(layer, Int8Linear) for layer in network.modules())
    quantize_linears(network, QuantizeLinearsConfig(keep=("^odd$", "^patch_embed$")))


def test_choosing_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no linear layer"):
        quantize_linears(seeded(), QuantizeLinearsConfig(keep=(".",)))


def test_bad_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="regular expression"):
        QuantizeLinearsConfig(keep=("(",))


def test_loaded_module_computes_the_same() -> None:
    network = seeded()
    names = quantize_linears(network, QuantizeLinearsConfig())
    again = Network()
    assert sorted(load_quantized(again, load(save(network.state_dict())))) == sorted(names)
    assert torch.equal(again(INPUTS), network(INPUTS))


def test_state_of_another_module_is_refused() -> None:
    network = seeded()
    quantize_linears(network, QuantizeLinearsConfig())
    with pytest.raises(ArtifactError, match="has no linear"):
        load_quantized(nn.Sequential(nn.Linear(6, 16)), network.state_dict())
    state = network.state_dict()
    del state["odd.weight_scale"]
    with pytest.raises(ArtifactError, match=r"odd\.weight_scale"):
        load_quantized(Network(), state)


def test_parity_is_perfect_against_itself_and_close_after_conversion() -> None:
    network, converted = seeded(), seeded()
    names = quantize_linears(converted, QuantizeLinearsConfig())
    rows = parity(network, converted, lambda module: module(INPUTS))
    assert [row.name for row in rows] == [*names, "output"]
    assert all(row.cosine > 0.99 and 0 < row.relative_error < 0.1 for row in rows)
    same = parity(converted, converted, lambda module: module(INPUTS))
    assert all(row.relative_error == 0 for row in same)


def test_parity_shows_a_damaged_layer() -> None:
    network, converted = seeded(), seeded()
    quantize_linears(converted, QuantizeLinearsConfig())
    damaged = converted.get_submodule("blocks.1.ffn.0")
    assert isinstance(damaged, Int8Linear)
    damaged.weight_scale.mul_(2)
    rows = {row.name: row for row in parity(network, converted, lambda m: m(INPUTS))}
    assert rows["blocks.1.ffn.0"].relative_error > 0.5
    assert rows["blocks.0.ffn.0"].relative_error < 0.1


def test_a_module_in_fp8_is_loaded_as_it_was_written_and_says_that_it_is_slow_here(caplog) -> None:
    network, again = seeded(16), Network(16)
    names = quantize_linears(network, QuantizeLinearsConfig(number_format="fp8"))
    assert sorted(load_quantized(again, load(save(network.state_dict())))) == sorted(names)
    assert torch.equal(again(INPUTS), network(INPUTS))
    with caplog.at_level("WARNING"):
        told = tell_slow_layers(again, torch.device("cpu"))
    assert told == f"FP8, multiplied in float32 ({len(names)} of them)"
    assert caplog.records[0].getMessage() == "fp8_fallback"
    assert tell_slow_layers(Network(), torch.device("cpu")) is None


def test_parity_of_fp8_is_close_in_every_layer() -> None:
    network, small = seeded(16), seeded(16)
    names = quantize_linears(small, QuantizeLinearsConfig(number_format="fp8"))
    rows = parity(network, small, lambda module: module(INPUTS))
    assert [row.name for row in rows] == [*names, "output"]
    assert all(row.cosine > 0.99 and 0 < row.relative_error < 0.15 for row in rows)
