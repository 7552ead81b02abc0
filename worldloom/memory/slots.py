"""Which past latent lies in which slot of a segment's memory, and for how long.

Whatever is chosen for a segment, a slot that was given a latent keeps it for a while: keys and
values are written only when a slot changes, so their cost is bounded by the number of slots in that
while, however fast the camera turns. Empty slots take a latent at once. It does not choose latents.
"""

from __future__ import annotations

from collections.abc import Sequence

from worldloom.frames import TEMPORAL_STRIDE


class MemorySlots:
    """The latent in each slot of memory."""

    def __init__(self, num_slots: int, refresh_frames: int) -> None:
        """Make empty slots that keep a latent for at least `refresh_frames` frames."""
        self.latents: list[int | None] = [None] * num_slots
        self._refresh_frames = refresh_frames
        self._since = [0] * num_slots

    def update(self, chosen: Sequence[int], now: int) -> list[int]:
        """Take in what a segment would see at best, and return the slots that changed.

        Args:
            chosen: latents, the most wanted first.
            now: the segment's first latent.
        """
        wanted = iter([latent for latent in chosen if latent not in self.latents])
        changed = []
        for slot, latent in enumerate(self.latents):
            held = TEMPORAL_STRIDE * (now - self._since[slot])
            if latent is not None and (latent in chosen or held < self._refresh_frames):
                continue
            new = next(wanted, None)
            if new is None:
                break
            self.latents[slot], self._since[slot] = new, now
            changed.append(slot)
        return changed
