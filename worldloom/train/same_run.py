"""Whether a checkpoint belongs to the run that is asked for, and what differs if it does not.

It compares plain values by dotted path. It does not know what they mean, save that some settings
say only how the same numbers come about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from worldloom.config import JsonValue
from worldloom.errors import TrainingError

_MOST_SHOWN = 5
_ABSENT = "nothing"


def require_same_settings(
    path: Path,
    saved: Mapping[str, JsonValue],
    asked: Mapping[str, JsonValue],
    *,
    may_change: Iterable[str] = (),
) -> None:
    """Refuse to go on from a checkpoint of other settings.

    Args:
        path: the checkpoint, for the message.
        saved: what it was trained with.
        asked: what is asked for now.
        may_change: dotted paths that say how long or how fast, not what.

    Raises:
        TrainingError: naming the settings that differ, with both values.
    """
    free = set(may_change)
    before, now = _flat(saved), _flat(asked)
    differing = [
        f"{name}={before.get(name, _ABSENT)!r} then, {now.get(name, _ABSENT)!r} now"
        for name in sorted(before.keys() | now.keys())
        if name not in free and before.get(name, _ABSENT) != now.get(name, _ABSENT)
    ]
    if differing:
        shown = "; ".join(differing[:_MOST_SHOWN])
        more = len(differing) - _MOST_SHOWN
        rest = f" and {more} more" if more > 0 else ""
        message = (
            f"{path}: the checkpoint is of another run ({shown}{rest}), expected the same settings"
            " or another folder"
        )
        raise TrainingError(message)


def _flat(values: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = list(value) if isinstance(value, tuple) else value
    return flat
