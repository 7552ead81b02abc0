"""Payloads of latents that can be dropped and made again, such as keys and values.

The least recently used one is dropped when a new one needs room. What a payload is, and that
making it again gives the same, is the caller's business.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

PayloadT = TypeVar("PayloadT")


class PayloadCache(Generic[PayloadT]):
    """At most `capacity` payloads by latent index.

    Attributes:
        num_recomputed: how often a payload that was not there had to be made.
    """

    def __init__(self, capacity: int) -> None:
        """Make an empty cache; raises `ValueError` if it could hold nothing."""
        if capacity < 1:
            message = f"capacity={capacity}: expected at least 1 payload"
            raise ValueError(message)
        self.capacity = capacity
        self.num_recomputed = 0
        self._payloads: OrderedDict[int, PayloadT] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of payloads that are there."""
        return len(self._payloads)

    def __contains__(self, index: int) -> bool:
        """Tell whether a payload is there; this is no use of it."""
        return index in self._payloads

    def put(self, index: int, payload: PayloadT) -> None:
        """Keep a payload as the most recently used one."""
        self._payloads[index] = payload
        self._payloads.move_to_end(index)
        if len(self._payloads) > self.capacity:
            self._payloads.popitem(last=False)

    def get(self, index: int, recompute: Callable[[int], PayloadT]) -> PayloadT:
        """Return a payload, made anew by `recompute(index)` if it is not there."""
        if index in self._payloads:
            self._payloads.move_to_end(index)
            return self._payloads[index]
        payload = recompute(index)
        self.num_recomputed += 1
        self.put(index, payload)
        return payload

    def keep_only(self, indices: Collection[int]) -> None:
        """Drop the payloads of all other latents."""
        for index in [held for held in self._payloads if held not in indices]:
            del self._payloads[index]

    def clear(self) -> None:
        """Drop everything."""
        self._payloads.clear()
