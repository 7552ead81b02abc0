"""Names of another project's tensors and where they belong here, as data.

A rule is a pair of names in which `#` stands for a number and `*` for anything; what they stood for
in the file's name is put into ours, in order. It does not know any model's names, reads no file,
and needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, zip_longest

_WILDCARDS = {"#": r"(\d+)", "*": r"(.*)"}
_WILDCARD = re.compile(r"[#*]")


@dataclass(frozen=True)
class Placement:
    """Where a tensor of a file belongs."""

    name: str  # of the module's parameter or buffer
    is_flattened: bool = False  # the axes after the first may be merged or split, in their order


# None: the map knows the tensor, and it is not needed. A text: a placement in the file's shape.
Rename = Callable[[str], Placement | str | None]


@dataclass(frozen=True)
class NameRule:
    """One name, or family of names: `NameRule("blocks.#.attn.q.*", "blocks.#.self_attn.q.*")`.

    Raises:
        ValueError: when the names' wildcards are not the same, in the same order.
    """

    source: str  # the file's name
    target: str | None  # the module's; None: known, and not loaded
    is_flattened: bool = False  # as in `Placement`: a Conv3d that is a Linear here

    def __post_init__(self) -> None:
        """Refuse a target that the source cannot fill."""
        if self.target is None:
            return
        if _WILDCARD.findall(self.source) != _WILDCARD.findall(self.target):
            message = (
                f"rule {self.source!r} -> {self.target!r}: the wildcards differ, expected the "
                "same ones in the same order"
            )
            raise ValueError(message)


class NameMap:
    """Rules in order; the first that fits decides, and a name that none fits stays as it is."""

    def __init__(self, *rules: NameRule) -> None:
        self.rules = rules
        self._patterns = [(compile_pattern(rule.source), rule) for rule in rules]

    def __call__(self, name: str) -> Placement | None:
        """Return where the file's tensor belongs, or None for one that is not needed."""
        for pattern, rule in self._patterns:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            if rule.target is None:
                return None
            texts = _WILDCARD.split(rule.target)
            filled = "".join(chain(*zip_longest(texts, match.groups(), fillvalue="")))
            return Placement(filled, rule.is_flattened)
        return Placement(name)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression of a name with `#` (a number) and `*` (anything)."""
    pieces = re.split(r"([#*])", pattern)
    return re.compile("".join(_WILDCARDS.get(piece, re.escape(piece)) for piece in pieces))


def in_order(names: set[str]) -> list[str]:
    """Return names sorted with their numbers as numbers: `blocks.2` before `blocks.10`."""
    return sorted(names, key=_sort_key)


def _sort_key(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
