"""Swap linear layers of a trained module for 8-bit ones, load such a module, compare the two.

It does not know what the module computes: layers are chosen by their dotted names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldloom.errors import ArtifactError, ConfigError
from worldloom.log import log_event
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.eight_bit_linear import EightBitLinear
from worldloom.quantize.fp8_linear import Fp8Linear, multiplies_fp8
from worldloom.quantize.linear import Int8Linear

__all__ = [
    "LayerParity",
    "QuantizeLinearsConfig",
    "load_quantized",
    "parity",
    "quantize_linears",
    "tell_slow_layers",
]

_LAYERS: dict[str, type[EightBitLinear]] = {"int8": Int8Linear, "fp8": Fp8Linear}
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerParity:
    """How far a layer's output is from the reference's, over all calls of a run."""

    name: str
    cosine: float
    relative_error: float


def quantize_linears(module: nn.Module, config: QuantizeLinearsConfig) -> list[str]:
    """Replace the chosen linear layers in place and return their names.

    Raises:
        ConfigError: naming a chosen layer that cannot be 8-bit and why, or when none is chosen.
    """
    kind = _LAYERS[config.number_format]
    chosen = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and config.selects(name)
    }
    if not chosen:
        message = f"layers={config.layers!r}: no linear layer of {type(module).__name__} is chosen"
        raise ConfigError(message)
    for name, layer in chosen.items():
        reason = kind.unsupported_reason(layer.in_features, layer.out_features)
        if reason is not None:
            message = f"layer {name}: {reason}; add a pattern for it to keep"
            raise ConfigError(message)
    for name, layer in chosen.items():
        module.set_submodule(name, kind.from_linear(layer))
    return list(chosen)


def load_quantized(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Fill a module built in full precision from a state with 8-bit layers; return their names.

    Raises:
        ArtifactError: when the tensors are not those of such a module.
    """
    kinds = {
        name.removesuffix(f".{kind.weight_name}"): kind
        for name in tensors
        for kind in _LAYERS.values()
        if name.endswith(f".{kind.weight_name}")
    }
    linears = {name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    for name, kind in kinds.items():
        if name not in linears:
            message = (
                f"tensor {name}.{kind.weight_name}: {type(module).__name__} has no linear {name!r}"
            )
            raise ArtifactError(message)
        linear = module.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        layer = kind(linear.in_features, linear.out_features, has_bias=linear.bias is not None)
        module.set_submodule(name, layer.to(linear.weight.device))
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        message = f"{type(module).__name__}: the tensors do not fit ({reason})"
        raise ArtifactError(message) from error
    return list(kinds)


def tell_slow_layers(module: nn.Module, device: torch.device) -> str | None:
    """Return, and log, how FP8 layers compute on a device that does not multiply FP8; else None.

    Such layers answer the same there, by products in float32 of the same 8-bit values: a bundle
    that was made for another device runs, slowly, and says so.
    """
    num_fp8 = sum(isinstance(layer, Fp8Linear) for layer in module.modules())
    if not num_fp8 or multiplies_fp8(device):
        return None
    told = f"FP8, multiplied in float32 ({num_fp8} of them)"
    log_event(_LOGGER, "fp8_fallback", logging.WARNING, device=str(device), layers=num_fp8)
    return told


@torch.no_grad()
def parity(
    reference: nn.Module, candidate: nn.Module, run: Callable[[nn.Module], Tensor]
) -> list[LayerParity]:
    """Compare every 8-bit layer of the candidate, and the run's output (named "output").

    Args:
        reference: the module in full precision.
        candidate: the same module with 8-bit layers.
        run: computes an output with the module it is given; no draw may differ between calls.
    """
    names = [name for name, layer in candidate.named_modules() if isinstance(layer, EightBitLinear)]
    with _recorded(reference, names) as expected:
        expected["output"] = [run(reference)]
    with _recorded(candidate, names) as actual:
        actual["output"] = [run(candidate)]
    return [_compare(name, expected[name], actual[name]) for name in [*names, "output"]]


@contextmanager
def _recorded(module: nn.Module, names: list[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the outputs of the named layers, call by call."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in names}

    def recorder(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name].append(output.detach().float().cpu())

        return record

    hooks = [module.get_submodule(name).register_forward_hook(recorder(name)) for name in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _compare(name: str, expected: list[Tensor], actual: list[Tensor]) -> LayerParity:
    if not expected:
        return LayerParity(name, cosine=1.0, relative_error=0.0)  # the run never called it
    wanted = torch.cat([x.flatten() for x in expected]).double()
    got = torch.cat([x.flatten() for x in actual]).double()
    norms = (wanted.norm() * got.norm()).clamp(min=1e-300)
    error = (got - wanted).norm() / wanted.norm().clamp(min=1e-300)
    if wanted.norm() == 0 and got.norm() == 0:
        return LayerParity(name, cosine=1.0, relative_error=0.0)
    return LayerParity(name, cosine=float(wanted @ got / norms), relative_error=float(error))
