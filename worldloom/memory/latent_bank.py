"""A session's past latents and poses in bounded RAM, and which of them the next views need.

RAM holds `capacity` latents: the sink, the newest ones and keyframes chosen by what they cover
(see `keyframe_index`). With a spill folder every latent is also written to one file there, and any
latent is read back bit for bit. Without one, a latent that is evicted is gone: asking for it is an
error, and a session cannot be resumed from the bank. It does not know keys, values or actions.

Letters: T latents, N = T poses, C channels, H W latent rows and columns, n chosen latents, Q query
poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.cover import Cover, greedy_cover_in_torch
from worldloom.memory.keyframe_index import NO_LATENT, KeyframeIndex
from worldloom.memory.spill import FILE_NAME, LatentShape, SpillFile


class LatentBank:
    """The latents of one session, in order of time."""

    def __init__(
        self,
        config: BankConfig,
        latent_shape: LatentShape,
        retrieval: RetrievalConfig,
        intrinsics: Intrinsics,
        *,
        spill_folder: Path | None = None,
        device: torch.device | str = "cpu",
        cover: Cover = greedy_cover_in_torch,
    ) -> None:
        """Make an empty bank.

        Args:
            config: what stays in RAM.
            latent_shape: (C, H, W) of every latent.
            retrieval: how latents are chosen.
            intrinsics: camera of the session.
            spill_folder: one session's own folder for latents on disk.
            device: where latents and poses are held.
            cover: what chooses among them.

        Raises:
            StoreError: when the folder already holds a session, or cannot be written.
        """
        self.index = KeyframeIndex(config, retrieval, intrinsics, device, cover)
        self._latents = torch.zeros(config.capacity, *latent_shape, device=device)
        self._slots: dict[int, int] | None = None
        self._spill = (
            None
            if spill_folder is None
            else SpillFile.create(spill_folder / FILE_NAME, latent_shape)
        )

    @classmethod
    def resume(
        cls,
        config: BankConfig,
        latent_shape: LatentShape,
        retrieval: RetrievalConfig,
        intrinsics: Intrinsics,
        *,
        spill_folder: Path,
        num_latents: int | None = None,
        device: torch.device | str = "cpu",
    ) -> LatentBank:
        """Return the bank of a session on disk as it was, reading it once from end to end.

        Raises:
            DataError: when the file is missing, truncated, foreign, or holds another number of
                latents than `num_latents`.
        """
        bank = cls(config, latent_shape, retrieval, intrinsics, device=device)
        spill = SpillFile.open(spill_folder / FILE_NAME, latent_shape, num_latents)
        for index in range(len(spill)):
            bank._hold(*spill.read(index))
        bank._spill = spill
        return bank

    def __len__(self) -> int:
        """Return the number of latents that were appended, in RAM or not."""
        return len(self.index)

    @property
    def keyframes(self) -> list[int]:
        """Latents that are in RAM, oldest first; the sink and the newest are among them."""
        return sorted(self._slot_of())

    @property
    def resident_bytes(self) -> int:
        """Bytes of the latents that are in RAM, full or not."""
        return self._latents.nbytes

    def append(self, latents: Float[Tensor, "T C H W"], poses: Float[Tensor, "N 4 4"]) -> None:
        """Add latents float32 with their c2w poses, in order of time.

        Raises:
            ValueError: for latents of another shape or type, or another number of poses.
            StoreError: when the disk refuses; earlier latents of the call are in the bank.
        """
        shape = tuple(self._latents.shape[1:])
        if latents.dtype != torch.float32 or latents.shape[1:] != shape:
            message = f"latents {latents.dtype} {list(latents.shape)}: expected float32 {[*shape]}"
            raise ValueError(message)
        if poses.shape != (len(latents), 4, 4):
            message = f"poses {list(poses.shape)}: expected {[len(latents), 4, 4]}, one a latent"
            raise ValueError(message)
        for latent, pose in zip(latents, poses, strict=True):
            if self._spill is not None:
                self._spill.append(latent, pose)
            self._hold(latent, pose)

    def latents(self, indices: Sequence[int]) -> Float[Tensor, "n C H W"]:
        """Return chosen latents, from RAM or from disk, bit for bit as they were appended.

        Raises:
            ValueError: for a latent that was never appended, or that was evicted without a disk.
        """
        chosen = self._latents.new_empty(len(indices), *self._latents.shape[1:])
        for place, index in enumerate(indices):
            slot = self._slot(index)
            chosen[place] = self._spilled(index)[0] if slot is None else self._latents[slot]
        return chosen

    def poses(self, indices: Sequence[int]) -> Float[Tensor, "n 4 4"]:
        """Return the c2w poses float64 of chosen latents; raises as `latents` does."""
        chosen = self.index.poses.new_empty(len(indices), 4, 4)
        for place, index in enumerate(indices):
            slot = self._slot(index)
            chosen[place] = self._spilled(index)[1] if slot is None else self.index.poses[slot]
        return chosen

    def retrieve(
        self, query_poses: Float[Tensor, "Q 4 4"], num: int, exclude_from: int
    ) -> list[int]:
        """Return at most `num` latents in RAM that see most of the coming views, the sink first.

        Args:
            query_poses: c2w of the coming views.
            num: latents at most.
            exclude_from: the first latent that may not be chosen, where the recent past begins.
        """
        chosen = self.index.query(query_poses, num, exclude_from).tolist()
        return [index for index in chosen if index != NO_LATENT]

    def close(self) -> None:
        """Close the file on disk, which stays; the bank takes no more latents."""
        if self._spill is not None:
            self._spill.close()

    def _hold(self, latent: Float[Tensor, "C H W"], pose: Float[Tensor, "4 4"]) -> None:
        slot = self.index.append(pose)
        self._latents.index_copy_(0, slot, latent.to(self._latents)[None])
        self._slots = None

    def _slot_of(self) -> dict[int, int]:
        """Return the slot of every latent in RAM; at most `capacity` of them."""
        if self._slots is None:
            held = enumerate(self.index.latent_indices.tolist())
            self._slots = {index: slot for slot, index in held if index != NO_LATENT}
        return self._slots

    def _slot(self, index: int) -> int | None:
        if not 0 <= index < len(self):
            message = f"latent {index}: expected one of the {len(self)} that were appended"
            raise ValueError(message)
        return self._slot_of().get(index)

    def _spilled(self, index: int) -> tuple[Float[Tensor, "C H W"], Float[Tensor, "4 4"]]:
        if self._spill is None:
            message = (
                f"latent {index}: evicted from a bank of {len(self._latents)} without a spill"
                " folder, expected one of its keyframes"
            )
            raise ValueError(message)
        return self._spill.read(index)
