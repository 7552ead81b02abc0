"""The truth of a session: its latents, poses and actions, from which all else follows.

It is bounded in memory (what is neither recent nor a keyframe is on disk alone), it chooses memory
among what it holds, and it can be taken out and put back whole. It does not know keys, values,
noise or decoders.

Letters: L latents, F frames (1 + 4 (L - 1)), C channels, H W latent rows and columns, T latents of
a segment, W frames of an action window, Q query poses.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.actions import NUM_KEYS, Actions
from worldloom.arrays import FloatArray, SingleArray
from worldloom.camera import Intrinsics
from worldloom.errors import StoreError
from worldloom.frames import TEMPORAL_STRIDE
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.cover import Cover, greedy_cover_in_torch
from worldloom.memory.latent_bank import LatentBank
from worldloom.model.config import TransformerConfig
from worldloom.rollout.action_log import ActionLog
from worldloom.rollout.segment import Windows

Poses = Float[FloatArray, "_ 4 4"]


@dataclass(frozen=True)
class SessionState:
    """What it takes to go on with the same frames."""

    latents: Tensor  # [L, C, H, W] float32
    poses: FloatArray  # [L, 4, 4], camera to world
    keyboard: SingleArray  # [F, keys]
    mouse: SingleArray  # [F, axes]
    frame_poses: FloatArray | None = None  # [F, 4, 4], where memory is chosen among frames

    def segments(
        self, config: TransformerConfig
    ) -> Iterator[tuple[range, Float[Tensor, "1 C T H W"], Poses, Actions]]:
        """Yield each segment's latents (numbers, then values [1, C, T, H, W]), poses, actions."""
        start = 0
        while start < len(self.latents):
            group = segment_of(start, config)
            frames = slice(
                max(0, TEMPORAL_STRIDE * (start - 1) + 1), TEMPORAL_STRIDE * group[-1] + 1
            )
            at = slice(group.start, group.stop)
            actions = Actions(self.keyboard[frames], self.mouse[frames])
            yield group, self.latents[at].transpose(0, 1)[None], self.poses[at], actions
            start = group.stop


def segment_of(latent: int, config: TransformerConfig) -> range:
    """Return the latents that were generated together with one."""
    first, size = config.first_segment_latents, config.segment_latents
    if latent < first:
        return range(first)
    start = first + (latent - first) // size * size
    return range(start, start + size)


class SessionTruth:
    """Latents, poses and actions of one session, in order of time."""

    def __init__(
        self,
        config: TransformerConfig,
        bank: BankConfig,
        retrieval: RetrievalConfig,
        intrinsics: Intrinsics,
        spill_folder: Path | None,
        cover: Cover = greedy_cover_in_torch,
    ) -> None:
        """Begin with nothing; what leaves memory goes into a new folder under `spill_folder`.

        The folder goes with the session; None puts it where temporary files are. `cover` chooses
        memory.
        """
        self.config = config
        self._count = 0
        self._is_torn = False
        folder = Path(tempfile.mkdtemp(prefix="worldloom-session-", dir=spill_folder))
        # Also when a session is dropped without a word, as a server drops one that went away.
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        shape = (config.latent_channels, config.latent_height, config.latent_width)
        self._bank = LatentBank(
            bank, shape, retrieval, intrinsics, spill_folder=folder, cover=cover
        )
        self._actions = ActionLog(folder / "actions.records")

    def __len__(self) -> int:
        """Return the number of latents, of whole segments."""
        return self._count

    @property
    def latest_pose(self) -> Float[FloatArray, "4 4"]:
        """The camera's current c2w pose [4, 4]."""
        latest: FloatArray = self.poses([len(self) - 1])[0]
        return latest

    @property
    def held(self) -> set[int]:
        """Latents in RAM, of which memory is chosen; what has left it is never chosen again."""
        return set(self._bank.keyframes)

    def append(self, latents: Float[Tensor, "1 C T H W"], poses: Poses, actions: Actions) -> None:
        """Add a segment's latents, their poses [T, 4, 4] and the actions of their frames.

        Raises:
            StoreError: when the disk refuses; earlier segments stay whole and can be taken out, and
                every later call is refused.
        """
        if self._is_torn:
            message = (
                f"session of {len(self)} latents: its files hold part of a segment since the disk "
                "refused, expected to go on from a snapshot in a new session"
            )
            raise StoreError(message)
        self._is_torn = True  # until all of the segment is there
        self._actions.append(actions)
        self._bank.append(
            latents[0].transpose(0, 1).float().cpu(), torch.from_numpy(np.asarray(poses))
        )
        self._count += latents.shape[2]
        self._is_torn = False

    def latents(self, group: Sequence[int]) -> Float[Tensor, "1 C T H W"]:
        """Return latents of the session."""
        return self._bank.latents(group).transpose(0, 1)[None]

    def poses(self, indices: Sequence[int]) -> Poses:
        """Return the poses [n, 4, 4] of latents."""
        poses: FloatArray = self._bank.poses(indices).numpy()
        return poses

    def actions(self, group: range) -> Float[SingleArray, "F A"]:
        """Return the actions of latents' frames, keys then axes; four frames a latent."""
        frames = self._actions.frames(group)
        return frames.reshape(-1, frames.shape[-1])

    def windows(self, group: range) -> Windows:
        """Return the actions [1, T, W, ...] that latents of the session read."""
        return _split(self._actions.windows(group, self.config.action_window_latents))

    def windows_after(self, actions: Actions) -> Windows:
        """Return the actions that the next latents would read if these were theirs."""
        return _split(self._actions.windows_after(actions, self.config.action_window_latents))

    def retrieve(self, query_poses: Poses, num: int, exclude_from: int) -> list[int]:
        """Return latents before `exclude_from` that see most of the coming views, sink first."""
        return self._bank.retrieve(torch.from_numpy(query_poses), num, exclude_from)

    def snapshot(self, start_latent: int = 0) -> SessionState:
        """Return everything from a latent on, read back from memory and disk."""
        wanted = range(start_latent, len(self))
        if not wanted:
            message = f"snapshot from latent {start_latent}: expected one of the {len(self)}"
            raise ValueError(message)
        frames = self.actions(wanted)
        if not start_latent:  # the start image is one frame
            frames = frames[TEMPORAL_STRIDE - 1 :]
        return SessionState(
            latents=self._bank.latents(wanted),
            poses=self.poses(wanted),
            keyboard=frames[:, :NUM_KEYS],
            mouse=frames[:, NUM_KEYS:],
        )

    def close(self) -> None:
        """Give up the session's files."""
        self._actions.close()
        self._bank.close()
        self._remove()


def _split(windows: Float[SingleArray, "T W A"]) -> Windows:
    both = torch.from_numpy(windows)[None]
    return both[..., :NUM_KEYS], both[..., NUM_KEYS:]
