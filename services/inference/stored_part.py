"""A session's state as it is stored: in parts, each with all that it takes to go on from its end.

A part holds units (see `world_state`) as safetensors, and beside them the session's record and
progress. Parts are named so that their order is that of time; they may overlap, as they do when
small ones are written anew as one or two processes have gone on with the same session. This
module does not know where parts are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from services.contract import KEYBOARD, MOUSE
from services.inference.session_record import SessionRecord
from services.inference.world_state import WorldState
from worldloom.actions import Actions
from worldloom.errors import DataError

_NAME = re.compile(r"(\d{13})-(\d{8})-(\d{8})\.safetensors")
_HEADER = "session"
_PENDING = "pending_"


class Progress(BaseModel):
    """What has become of a session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_frames: int = Field(description="frames made for actions of the client")
    is_finishing: bool
    is_paused: bool


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    record: SessionRecord
    progress: Progress
    start: int
    stop: int


@dataclass(frozen=True)
class StoredPart:
    """Units of a session, and how the session was at their end.

    Attributes:
        pending: actions that waited for their frames, where they were kept.
    """

    record: SessionRecord
    progress: Progress
    state: WorldState
    pending: Actions | None = None

    @property
    def name(self) -> str:
        """The name under which the part is stored."""
        opened = self.record.opened_at_ms
        return f"{opened:013d}-{self.state.start:08d}-{self.state.stop:08d}.safetensors"

    def to_bytes(self) -> bytes:
        """Return the part as one file."""
        tensors = {name: np.ascontiguousarray(array) for name, array in self.state.arrays.items()}
        if self.pending is not None:
            tensors[_PENDING + KEYBOARD] = np.ascontiguousarray(self.pending.keyboard)
            tensors[_PENDING + MOUSE] = np.ascontiguousarray(self.pending.mouse)
        header = _Header(
            record=self.record,
            progress=self.progress,
            start=self.state.start,
            stop=self.state.stop,
        )
        data: bytes = save(tensors, {_HEADER: header.model_dump_json()})
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> StoredPart:
        """Read a part; raises `DataError` for a damaged one."""
        try:
            header = _Header.model_validate_json(_metadata(data)[_HEADER])
            tensors = load(data)
        except (SafetensorError, ValidationError, ValueError, KeyError) as error:
            message = f"{len(data)} bytes that are no part of a session ({error})"
            raise DataError(message) from error
        keyboard = tensors.pop(_PENDING + KEYBOARD, None)
        mouse = tensors.pop(_PENDING + MOUSE, None)
        pending = None if keyboard is None or mouse is None else Actions(keyboard, mouse)
        state = WorldState(header.start, header.stop, tensors)
        return cls(header.record, header.progress, state, pending)


def join_parts(parts: Sequence[StoredPart]) -> StoredPart:
    """Return the parts of a session, in order of their names, as one that begins at its start.

    Raises:
        DataError: when there are none, or some are missing between them.
    """
    if not parts:
        message = "a session without parts, expected at least one"
        raise DataError(message)
    whole: WorldState | None = None
    last = parts[0]
    for part in parts:
        state = part.state
        reached = 0 if whole is None else whole.stop
        if state.start > reached:
            message = f"units {reached} to {state.start} of the session are missing"
            raise DataError(message)
        if state.stop >= reached:
            last = part
        if state.stop > reached:
            new = state.part(reached, state.stop)
            whole = new if whole is None else whole.joined(new)
    if whole is None:
        message = "a session whose parts hold no unit, expected its start at least"
        raise DataError(message)
    return StoredPart(last.record, last.progress, whole, last.pending)


def latest_names(names: Iterable[str]) -> list[str]:
    """Return the names that belong to the latest session of an id, in order."""
    found = sorted(name for name in names if _NAME.fullmatch(name))
    return [name for name in found if name.split("-")[0] == found[-1].split("-")[0]]


def covered_names(names: Iterable[str], part: StoredPart) -> list[str]:
    """Return the names of parts that say nothing which a later, larger part does not."""
    covered = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or name == part.name:
            continue
        opened, start, stop = map(int, match.groups())
        is_within = part.state.start <= start and stop <= part.state.stop
        if opened < part.record.opened_at_ms or (opened == part.record.opened_at_ms and is_within):
            covered.append(name)
    return covered


def _metadata(data: bytes) -> dict[str, str]:
    """Return what stands in a safetensors file's header beside its tensors."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
