"""Which backend a session goes to: by pin, by share of its release, by room. Pure decisions.

A release's share of new sessions is a weight; a session's place on the scale is a hash of its id,
so the same session always falls on the same side. It does not know how a backend is reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

_HASH_BYTES = 8


@dataclass(frozen=True)
class Route:
    """What a session asks of its backend.

    Attributes:
        session_id: decides on which side of a split the session falls.
        release: digest or model version that it is pinned to.
        allowed: releases that its token allows, digests or versions; all when empty.
        address: the backend that has the session's state, for one that is resumed.
        without: a backend that it must not go to.
    """

    session_id: str
    release: str | None = None
    allowed: tuple[str, ...] = ()
    address: str | None = None
    without: str = ""

    def accepts(self, digest: str, model_version: str) -> bool:
        """Tell whether a backend of this release may serve the session."""
        names = {digest, model_version} - {""}
        is_pinned = self.release is not None and self.release != digest
        if is_pinned and self.release not in names:
            return False
        return not self.allowed or bool(names.intersection(self.allowed))


class Candidate(Protocol):
    """What routing needs to know of a backend."""

    @property
    def address(self) -> str:
        """Where it is."""

    @property
    def digest(self) -> str:
        """Digest of its release."""

    @property
    def model_version(self) -> str:
        """Version of its release in the registry."""

    @property
    def share(self) -> float:
        """Weight of its release among new sessions."""

    @property
    def num_free(self) -> int:
        """Slots that are free, as far as the gateway knows."""


CandidateT = TypeVar("CandidateT", bound=Candidate)


def choose(candidates: Iterable[CandidateT], route: Route) -> CandidateT | None:
    """Return the backend with room that a session goes to, None when it must wait.

    A session that is not pinned goes to the release that its hash falls on, and to another when
    that one has no room; within a release to the backend with the most room.
    """
    fitting = [
        each
        for each in candidates
        if route.accepts(each.digest, each.model_version) and each.address != route.without
    ]
    if route.release is None and not route.allowed:
        fitting = [each for each in fitting if each.share > 0]
    free = [each for each in fitting if each.num_free > 0]
    if not free:
        return None
    first = _release_of(route.session_id, _shares(fitting))
    return max(
        free,
        key=lambda each: (each.address == route.address, each.digest == first, each.num_free),
    )


def _shares(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Return each release's weight; of several backends of one release the largest counts."""
    shares: dict[str, float] = {}
    for each in candidates:
        shares[each.digest] = max(each.share, shares.get(each.digest, 0.0))
    return shares


def _release_of(session_id: str, shares: Mapping[str, float]) -> str | None:
    total = sum(shares.values())
    if not total:
        return None
    digest = hashlib.sha256(session_id.encode()).digest()[:_HASH_BYTES]
    place = int.from_bytes(digest, "big") / 2 ** (8 * _HASH_BYTES) * total
    for release in sorted(shares):
        place -= shares[release]
        if place < 0:
            return release
    return None
