"""The answer of one check: what was found, whether that will do, and how to mend it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worldloom.errors import WorldloomError

logger = logging.getLogger(__name__)


class State(StrEnum):
    """Whether what was found will do."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table.

    Attributes:
        name: what was looked at.
        state: warn costs something that is optional, fail something that is needed.
        found: what is there.
        mend: what to do about it; empty when nothing is to be done.
    """

    name: str
    state: State
    found: str
    mend: str = ""


Examination = Callable[[], Sequence[Check]]


def passed(name: str, found: str) -> Check:
    """Return a check with nothing to mend."""
    return Check(name, State.OK, found)


def examine(examinations: Sequence[tuple[str, Examination]]) -> Iterator[Check]:
    """Run all examinations; one that cannot be finished is a failed check, not the end."""
    for name, examination in examinations:
        try:
            yield from examination()
        except WorldloomError as error:
            yield Check(name, State.FAIL, str(error), "see the sentence on the left")
