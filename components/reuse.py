"""Whether a finished step's result can be taken again, and if not, what has changed since.

It compares what a step is about to do with the records in the store. It does not run anything and
does not know where a step stands in a pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.step_record import StepRecord, read_latest_record, read_step_record, step_key
from worldloom.artifacts import is_digest
from worldloom.config import JsonValue, canonical_json
from worldloom.store import ArtifactStore

_MAX_NAMED = 3


@dataclass(frozen=True)
class StepRequest:
    """What a step is about to do.

    Attributes:
        step: name of the step.
        code: digest of its code.
        code_files: SHA-256 of each of its sources, by path.
        config: its resolved config.
        parents: digest of each input by role; None for one that is not known yet.
    """

    step: str
    code: str
    code_files: Mapping[str, str]
    config: Mapping[str, JsonValue]
    parents: Mapping[str, str | None]


@dataclass(frozen=True)
class Verdict:
    """Whether a result is there, why, and what it is.

    Attributes:
        reused: True or False; None if that depends on an input that is not known yet.
        reason: in words.
        outputs: of the record that is reused.
        expected_seconds: how long the step took when it last ran.
    """

    reused: bool | None
    reason: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    expected_seconds: float | None = None


def judge(store: ArtifactStore, request: StepRequest) -> Verdict:
    """Tell whether the step's result is in the store, and why (not).

    Raises:
        StoreError: if the store cannot be read.
        ArtifactError: if an artifact of the record can be seen to be damaged.
    """
    latest = read_latest_record(store, request.step)
    expected = None if latest is None else latest.seconds
    known = {role: digest for role, digest in request.parents.items() if digest is not None}
    if len(known) == len(request.parents):
        config_json = canonical_json(dict(request.config))
        key = step_key(request.step, request.code, config_json, known)
        record = read_step_record(store, key)
        if record is not None:
            gone = missing_output(store, record)
            if gone is None:
                return Verdict(True, "nothing it depends on changed", record.outputs, expected)
            return Verdict(False, f"artifact missing: {gone}", expected_seconds=expected)
    if latest is None:
        return Verdict(False, "first time", expected_seconds=expected)
    reason = _difference(request, latest)
    unknown = sorted(set(request.parents) - set(known))
    if not reason and unknown:
        waits = f"decided when {', '.join(unknown)} is there"
        return Verdict(None, waits, expected_seconds=expected)
    return Verdict(False, reason or "no record of this combination", expected_seconds=expected)


def missing_output(store: ArtifactStore, record: StepRecord) -> str | None:
    """Name the first output artifact of a record that the store lacks."""
    for name, value in record.outputs.items():
        if is_digest(value) and not store.has(value):
            return f"{name} ({value[:19]})"
    return None


def _difference(request: StepRequest, latest: StepRecord) -> str:
    """Say what differs from the step's latest record: code, then config, then inputs."""
    if request.code != latest.code:
        return _code_difference(request.code_files, latest.code_files)
    old, new = _flattened(latest.config), _flattened(request.config)
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if keys:
        changes = [f"{key} {old.get(key)} -> {new.get(key)}" for key in keys]
        return f"config changed: {_listed(changes)}"
    roles = sorted(
        role
        for role, digest in request.parents.items()
        if digest is not None and digest != latest.parents.get(role)
    )
    return f"parent changed: {_listed(roles)}" if roles else ""


def _code_difference(new: Mapping[str, str], old: Mapping[str, str]) -> str:
    changed = sorted(path for path in new.keys() & old.keys() if new[path] != old[path])
    added = [f"{path} (new)" for path in sorted(new.keys() - old.keys())]
    removed = [f"{path} (gone)" for path in sorted(old.keys() - new.keys())]
    return f"code changed: {_listed(changed + added + removed)}"


def _listed(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _flattened(values: Mapping[str, JsonValue], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = canonical_json(value)
    return flat
