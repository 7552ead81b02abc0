"""The one door through which weights come from files into a module: strict, sharded, mapped.

Everything is compared by the files' headers first: a tensor that is missing, extra, of another
shape or of another kind is named, with all the others, and the module is left as it was. Then the
tensors take the places of the module's own, one by one. A file is mapped, not read: on the CPU and
in the file's type a parameter is the mapping itself and costs no memory until it is used; in
another type or on another device it costs its own size once. So build the module on the meta
device. Training such parameters writes to private pages, never to the file; a file in use must be
replaced by renaming, not overwritten.

It knows no model: whose names are whose is a map that the model's own module brings (see
`weight_names`). Which files there are is `weight_files`' business.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from worldloom.errors import ArtifactError
from worldloom.model.weights.weight_files import (
    Source,
    TensorHeader,
    checkpoint_label,
    describe_checkpoint,
)
from worldloom.model.weights.weight_names import (
    NameMap,
    NameRule,
    Placement,
    Rename,
    compile_pattern,
    in_order,
)

__all__ = [
    "LoadedWeights",
    "NameMap",
    "NameRule",
    "Placement",
    "Rename",
    "TensorHeader",
    "describe_checkpoint",
    "load_weights",
]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class LoadedWeights:
    """What a load did; names are the module's in `loaded` and `left`, the files' in `unused`."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]  # optional ones that the checkpoint lacks: still as the module had them
    unused: tuple[str, ...]  # tensors that the name map knows and does not need


@dataclass
class _Comparison:
    """Where each tensor goes, and each way in which the checkpoint does not fit."""

    places: dict[str, tuple[TensorHeader, Placement]] = field(default_factory=dict)
    unused: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    extra: set[str] = field(default_factory=set)
    misshaped: set[str] = field(default_factory=set)
    mistyped: set[str] = field(default_factory=set)
    clashing: set[str] = field(default_factory=set)

    def faults(self) -> str:
        kinds = ("missing", "extra", "misshaped", "mistyped", "clashing")
        found = {kind: in_order(getattr(self, kind)) for kind in kinds}
        return "; ".join(
            f"{len(names)} {kind}: {', '.join(names)}" for kind, names in found.items() if names
        )


def load_weights(
    module: nn.Module,
    source: Source,
    *,
    rename: Rename = Placement,
    optional: Collection[str] = (),
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> LoadedWeights:
    """Put a checkpoint's tensors in the places of a module's parameters and buffers.

    Args:
        module: built on the meta device, so that it holds nothing yet; elsewhere its own tensors
            are let go one by one.
        source: a file, files, an index or a folder; see `weight_files`.
        rename: from a file's name to the module's; by default they are the same.
        optional: the module's names, with `#` for a number and `*` for anything, that a checkpoint
            may lack. They stay as they are, and the caller fills them.
        dtype: what floating tensors become; None leaves each as the file has it.
        device: where the tensors go.

    Raises:
        ArtifactError: naming every tensor that does not fit, or the file that cannot be read;
            nothing has been assigned then.
        ValueError: for a module that cannot be loaded tensor by tensor.
    """
    expected = _expected(module)
    comparison = _compare(describe_checkpoint(source), expected, rename)
    allowed = [compile_pattern(pattern) for pattern in optional]
    lacking = expected.keys() - comparison.places.keys()
    left = {name for name in lacking if any(pattern.fullmatch(name) for pattern in allowed)}
    comparison.missing = lacking - left
    faults = comparison.faults()
    if faults:
        message = (
            f"{checkpoint_label(source)}: does not fit {type(module).__name__} and its "
            f"{len(expected)} tensors, {faults}"
        )
        raise ArtifactError(message)
    _assign(module, comparison.places, expected, dtype, torch.device(device))
    return LoadedWeights(
        tuple(in_order(set(comparison.places))),
        tuple(in_order(left)),
        tuple(in_order(comparison.unused)),
    )


def _expected(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's tensors by name, refusing those that loading would leave broken."""
    expected = module.state_dict(keep_vars=True)
    if len({id(tensor) for tensor in expected.values()}) < len(expected):
        message = f"{type(module).__name__}: shares tensors between names, expected one name each"
        raise ValueError(message)
    stranded = {
        name for name, buffer in module.named_buffers() if buffer.is_meta and name not in expected
    }
    if stranded:
        message = (
            f"{type(module).__name__}: no checkpoint fills its non-persistent buffers on the meta "
            f"device ({', '.join(in_order(stranded))}), expected real ones"
        )
        raise ValueError(message)
    return expected


def _compare(
    headers: Mapping[str, TensorHeader], expected: Mapping[str, Tensor], rename: Rename
) -> _Comparison:
    comparison = _Comparison()
    for name, header in headers.items():
        renamed = rename(name)
        if renamed is None:
            comparison.unused.add(name)
            continue
        place = Placement(renamed) if isinstance(renamed, str) else renamed
        if place.name not in expected:
            comparison.extra.add(name)
        elif place.name in comparison.places:
            other = comparison.places[place.name][0].name
            comparison.clashing.add(f"{name} and {other} are both {place.name}")
        else:
            comparison.places[place.name] = header, place
            _compare_tensor(comparison, header, place, expected[place.name])
    return comparison


def _compare_tensor(
    comparison: _Comparison, header: TensorHeader, place: Placement, wanted: Tensor
) -> None:
    shape = tuple(wanted.shape)
    if header.shape != shape and not (place.is_flattened and _flattens(header.shape, shape)):
        comparison.misshaped.add(
            f"{header.name} is {list(header.shape)}, expected {list(shape)} for {place.name}"
        )
    found = _DTYPES.get(header.dtype)
    both_float = found is not None and found.is_floating_point and wanted.is_floating_point()
    if found != wanted.dtype and not both_float:
        comparison.mistyped.add(
            f"{header.name} is {header.dtype}, expected {wanted.dtype} for {place.name}"
        )


def _flattens(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Tell whether two shapes differ only in how the axes after the first are merged."""
    return source[:1] == target[:1] and math.prod(source) == math.prod(target)


def _assign(
    module: nn.Module,
    places: Mapping[str, tuple[TensorHeader, Placement]],
    expected: Mapping[str, Tensor],
    dtype: torch.dtype | None,
    device: torch.device,
) -> None:
    by_file: dict[Path, list[str]] = {}
    for name, (header, _) in places.items():
        by_file.setdefault(header.path, []).append(name)
    for path, names in by_file.items():
        with safe_open(path, framework="pt") as file:
            for name in names:
                tensor: Tensor = file.get_tensor(places[name][0].name)
                tensor = tensor.reshape(expected[name].shape)
                wanted = dtype if tensor.is_floating_point() else None
                _replace(module, name, tensor.to(device=device, dtype=wanted))


def _replace(module: nn.Module, name: str, tensor: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    owner = module.get_submodule(parent)
    old = getattr(owner, leaf)
    if isinstance(old, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
    setattr(owner, leaf, tensor)
