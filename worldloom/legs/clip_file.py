"""A clip as a file that one process renders and another trains on: raw frames, context worked out.

Frames are raw bytes, since decoding pictures would cost the training time; which latents each
segment sees is worked out by whoever renders, for the same reason. A file is whole or not there,
and one that cannot be read is no end of a leg: `ClipFolder` counts it, reports it, and stops when
more than a hundredth of all are so. It does not know how clips come about or what learns from them.

Letters: F frames, H W rows and columns, L latents, S segments, M context latents, R words or window
frames.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.data.latents import LatentClips
from worldloom.data.schema import Clip, Split
from worldloom.errors import DataError
from worldloom.frames import num_latent_frames
from worldloom.log import log_event
from worldloom.memory.config import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.train.checkpoint import write_atomically
from worldloom.train.clip_context import ClipBatch, SegmentedClips

logger = logging.getLogger(__name__)

MOST_DAMAGED_SHARE = 0.01
_SUFFIX, _DROPPED_SUFFIX = ".safetensors", ".dropped"
_HEADER = "clip"
_SEGMENTED = "segmented."


@dataclass(frozen=True)
class StoredClip:
    """A clip as it was stored.

    Attributes:
        clip_id: unique among all clips.
        source: what recorded it.
        prompt: a sentence on what is to be seen.
        frames: uint8 [F, H, W, 3].
        poses: [F, 4, 4].
        keyboard, mouse: [F, 6] and [F, 2].
        segmented: the clip as a batch of one, its latents [1, L, 0, 0, 0] still to come.
    """

    clip_id: str
    source: str
    prompt: str
    frames: Tensor
    poses: Tensor
    keyboard: Tensor
    mouse: Tensor
    segmented: ClipBatch


def clip_path(folder: Path, split: Split, index: int) -> Path:
    """Return where the clip of a number is."""
    return folder / f"{split}-{index:07d}{_SUFFIX}"


def mark_dropped(path: Path) -> None:
    """Say that a filter dropped the clip that would be here."""
    path.with_suffix(_DROPPED_SUFFIX).touch()


def is_done(path: Path) -> bool:
    """Tell whether a clip was rendered, kept or dropped."""
    return path.exists() or path.with_suffix(_DROPPED_SUFFIX).exists()


def write_clip(
    path: Path,
    clip: Clip,
    shape: TransformerConfig,
    retrieval: RetrievalConfig,
) -> None:
    """Work out what the clip's segments see and write everything."""
    poses, keyboard, mouse = (
        torch.from_numpy(values).float() for values in (clip.poses_c2w, clip.keyboard, clip.mouse)
    )
    length = num_latent_frames(clip.num_frames)
    alone = LatentClips(
        latents=torch.zeros(1, length, 0, 0, 0, dtype=torch.float16),
        poses=poses[None],
        keyboard=keyboard[None],
        mouse=mouse[None],
        prompts=[clip.prompt],
        clip_ids=[clip.clip_id],
        sources=[clip.source],
        intrinsics=clip.intrinsics,
        frame_size=(clip.frames.shape[1], clip.frames.shape[2]),
    )
    segmented = SegmentedClips(alone, shape, retrieval).batch(torch.tensor([0]))
    tensors = {
        "frames": torch.from_numpy(clip.frames),
        "poses": poses,
        "keyboard": keyboard,
        "mouse": mouse,
        **{f"{_SEGMENTED}{name}": value for name, value in vars(segmented).items()},
    }
    header = {"clip_id": clip.clip_id, "source": clip.source, "prompt": clip.prompt}
    plain = {name: value.contiguous() for name, value in tensors.items()}
    write_atomically(path, save(plain, {_HEADER: json.dumps(header)}))


def read_clip(path: Path) -> StoredClip:
    """Read a clip; raises `DataError` for a file that is none."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        segmented = ClipBatch(
            **{
                name.removeprefix(_SEGMENTED): tensors.pop(name)
                for name in list(tensors)
                if name.startswith(_SEGMENTED)
            }
        )
        return StoredClip(**header, **tensors, segmented=segmented)
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        message = f"clip file {path.name}: cannot be read ({error}), expected a stored clip"
        raise DataError(message) from error


class ClipFolder:
    """Reads a split's clips as they come in, each once."""

    def __init__(self, folder: Path, split: Split) -> None:
        """Read nothing yet."""
        self.folder, self.split = folder, split
        self.num_read = 0
        self.damaged: list[str] = []
        self._seen: set[str] = set()

    @property
    def num_done(self) -> int:
        """How many clips were looked at, and found dropped by filters."""
        return len(self._seen) + len(self._names(_DROPPED_SUFFIX))

    def poll(self, limit: int) -> list[StoredClip]:
        """Return at most `limit` clips that were not returned before.

        Raises:
            DataError: when more than a hundredth of the clips so far cannot be read.
        """
        clips: list[StoredClip] = []
        for name in self._names(_SUFFIX):
            if name in self._seen:
                continue
            if len(clips) == limit:
                break
            self._seen.add(name)
            try:
                clips.append(read_clip(self.folder / name))
            except DataError as error:
                self._count_damage(name, error)
        self.num_read += len(clips)
        share = len(self.damaged) / max(len(self._seen), 1)
        if len(self.damaged) > 1 and share > MOST_DAMAGED_SHARE:
            message = (
                f"{self.folder}: {len(self.damaged)} of {len(self._seen)} clip files cannot be "
                f"read ({', '.join(self.damaged[:3])}), expected at most {MOST_DAMAGED_SHARE:.0%}"
            )
            raise DataError(message)
        return clips

    def _names(self, suffix: str) -> list[str]:
        """Return the names of the split's files in order; it is asked between training steps."""
        names = os.listdir(self.folder)  # noqa: PTH208 - a path object a file would cost time
        return sorted(n for n in names if n.startswith(f"{self.split}-") and n.endswith(suffix))

    def _count_damage(self, name: str, error: DataError) -> None:
        self.damaged.append(name)
        log_event(
            logger,
            "clip_skipped",
            logging.WARNING,
            clip=name,
            reason=str(error),
            skipped=len(self.damaged),
        )


def held_out_clips(
    clips: list[StoredClip], latents: list[Tensor], camera: Intrinsics
) -> LatentClips:
    """Return stored clips and their latents [L, C, H, W] as a set that is judged on."""
    return LatentClips(
        latents=torch.stack(latents).half().cpu(),
        poses=torch.stack([clip.poses for clip in clips]),
        keyboard=torch.stack([clip.keyboard for clip in clips]),
        mouse=torch.stack([clip.mouse for clip in clips]),
        prompts=[clip.prompt for clip in clips],
        clip_ids=[clip.clip_id for clip in clips],
        sources=[clip.source for clip in clips],
        intrinsics=camera,
        frame_size=(clips[0].frames.shape[1], clips[0].frames.shape[2]),
    )
