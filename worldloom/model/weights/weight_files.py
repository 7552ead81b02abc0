"""Which safetensors files a checkpoint is made of, and what their headers say.

A checkpoint is a file, several files, an index (`*.safetensors.index.json`, as the public ones
have) or a folder with one of these. Only headers are read here. It loads no pickle and offers no
way to: unpickling runs code. It knows no module and needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from worldloom.errors import ArtifactError
from worldloom.model.weights.weight_names import in_order

Source = Path | Sequence[Path]

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
_PICKLES = {".bin", ".ckpt", ".pkl", ".pt", ".pth"}


@dataclass(frozen=True)
class TensorHeader:
    """What a file says of one of its tensors."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # in safetensors' letters: F32, BF16, I8
    path: Path  # the file that holds it


def describe_checkpoint(source: Source) -> dict[str, TensorHeader]:
    """Return every tensor's header by name, without reading any tensor.

    Raises:
        ArtifactError: for a file that is missing, truncated or a pickle, an index that its shards
            contradict, and a name that occurs in two files.
    """
    paths, listed = _files_of(source)
    _refuse_unreadable(paths, source)
    headers: dict[str, TensorHeader] = {}
    twice: list[str] = []
    for path in paths:
        for header in _headers(path):
            first = headers.setdefault(header.name, header)
            if first is not header:
                twice.append(f"{header.name} ({first.path.name}, {path.name})")
    if twice:
        message = f"{checkpoint_label(source)}: a tensor must be in one file, but in two are: "
        raise ArtifactError(message + ", ".join(twice))
    if listed is not None:
        _refuse_other_places(headers, listed, source)
    return headers


def has_weights(folder: Path) -> bool:
    """Tell whether a folder holds safetensors at all."""
    return any(folder.glob("*" + SUFFIX)) or any(folder.glob("*" + INDEX_SUFFIX))


def checkpoint_label(source: Source) -> str:
    """Return what messages call a checkpoint: its path, or the paths of its files."""
    return str(source) if isinstance(source, Path) else ", ".join(map(str, source))


def _files_of(source: Source) -> tuple[list[Path], dict[str, str] | None]:
    """Return the files, and the index's word on which tensor is in which."""
    if not isinstance(source, Path):
        if not source:
            message = "no file given, expected the safetensors files of a checkpoint"
            raise ValueError(message)
        return list(source), None
    if not source.is_dir():
        return _read_index(source) if source.name.endswith(".index.json") else ([source], None)
    indices = sorted(source.glob("*" + INDEX_SUFFIX))
    if len(indices) > 1:
        names = ", ".join(path.name for path in indices)
        message = f"{source}: holds {len(indices)} checkpoints ({names}); give the path of one"
        raise ArtifactError(message)
    if indices:
        return _read_index(indices[0])
    files = sorted(source.glob("*" + SUFFIX))
    if not files:
        message = f"{source}: no weights here, expected *{INDEX_SUFFIX} or *{SUFFIX}"
        pickles = sorted(path.name for path in source.iterdir() if path.suffix in _PICKLES)
        if pickles:
            message += f"; pickles ({', '.join(pickles)}) are not loaded, convert them first"
        raise ArtifactError(message)
    return files, None


def _read_index(path: Path) -> tuple[list[Path], dict[str, str]]:
    try:
        listed = json.loads(path.read_text())["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path}: not a readable index ({error!r}), expected JSON with a weight_map"
        raise ArtifactError(message) from error
    is_map = isinstance(listed, dict) and listed and all(map(_is_file_name, listed.values()))
    if not is_map:
        message = f"{path}: its weight_map must give the name of a file beside it for each tensor"
        raise ArtifactError(message)
    return [path.with_name(name) for name in in_order(set(listed.values()))], listed


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and value not in {"", ".", ".."} and Path(value).name == value


def _refuse_unreadable(paths: Sequence[Path], source: Source) -> None:
    """Name every file that cannot be read, so that one attempt tells what is to be fetched."""
    pickles = [path.name for path in paths if path.suffix in _PICKLES]
    if pickles:
        message = (
            f"{checkpoint_label(source)}: {', '.join(pickles)} would be unpickled, which runs "
            f"whatever code is in it; expected {SUFFIX} (convert it where you trust it)"
        )
        raise ArtifactError(message)
    faults = [fault for path in paths if (fault := _fault(path))]
    if faults:
        message = (
            f"{checkpoint_label(source)}: {len(faults)} of {len(paths)} files cannot be read "
            f"({'; '.join(faults)}), expected whole safetensors files"
        )
        raise ArtifactError(message)


def _fault(path: Path) -> str:
    if not path.is_file():
        return f"{path.name} is missing"
    try:
        with safe_open(path, framework="np"):
            return ""
    except (SafetensorError, OSError) as error:
        return f"{path.name} is truncated or no safetensors: {error}"


def _headers(path: Path) -> Iterator[TensorHeader]:
    with safe_open(path, framework="np") as file:
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            yield TensorHeader(name, tuple(part.get_shape()), part.get_dtype(), path)


def _refuse_other_places(
    headers: dict[str, TensorHeader], listed: dict[str, str], source: Source
) -> None:
    placed = {name: header.path.name for name, header in headers.items()}
    absent = {name for name, shard in listed.items() if placed.get(name) != shard}
    unlisted = placed.keys() - listed.keys()
    faults = []
    if absent:
        places = ", ".join(f"{name} ({listed[name]})" for name in in_order(absent))
        faults.append(f"{len(absent)} not in the file that the index names: {places}")
    if unlisted:
        places = ", ".join(f"{name} ({placed[name]})" for name in in_order(unlisted))
        faults.append(f"{len(unlisted)} not in the index: {places}")
    if faults:
        message = f"{checkpoint_label(source)}: index and files differ, {'; '.join(faults)}"
        raise ArtifactError(message)
