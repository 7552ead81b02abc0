"""The clips that all arms of an experiment learn from: rendered once, encoded once, in two files.

    <folder>/clips.safetensors   latents, poses, actions, and what each segment sees
    <folder>/test.safetensors    clips of held-out worlds (`data.latents`)

It does not know arms or objectives.

Letters: N clips.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import safe_open
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.data.latents import LatentClips, read_latents, write_latents
from worldloom.errors import DataError
from worldloom.legs.clip_file import ClipFolder, StoredClip, held_out_clips
from worldloom.legs.config import FeedConfig
from worldloom.legs.feed import Feed
from worldloom.memory.config import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.vae.video_vae import VideoVAE, load_vae
from worldloom.presets import ModelPreset
from worldloom.train.checkpoint import write_tensors
from worldloom.train.clip_context import ClipBatch
from worldloom.train.vae_windows import to_video

CLIPS_FILE = "clips.safetensors"
_HEADER = "clip_ids"
_POLL_SECONDS = 0.2
_CLIPS_AT_ONCE = 64


class StackedClips:
    """A set of clips that lies where the network is."""

    def __init__(self, clips: ClipBatch, clip_ids: list[str], intrinsics: Intrinsics) -> None:
        """Take N clips of one length, their latents in half precision."""
        self._clips = clips
        self.clip_ids, self.intrinsics = clip_ids, intrinsics
        self.num_segments = clips.context_indices.shape[1]

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clip_ids)

    def batch(self, rows: Int[Tensor, " B"]) -> ClipBatch:
        """Return the clips of these rows."""
        there = rows.to(self._clips.latents.device)
        picked = {name: value[there] for name, value in vars(self._clips).items()}
        return ClipBatch(**{**picked, "latents": picked["latents"].float()})


def render_clips(
    feed: FeedConfig,
    model: ModelPreset,
    vae: Path,
    folder: Path,
    tell: Callable[[str], None],
) -> None:
    """Render and encode every clip of a feed, unless the folder has them.

    Raises:
        DataError: when no clip was kept, or too many cannot be read.
        MachineError: when a rendering process ends with an error.
    """
    if (folder / CLIPS_FILE).is_file():
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_vae(vae).to(device).requires_grad_(requires_grad=False)
    folder.mkdir(parents=True, exist_ok=True)
    with Feed(feed, folder / "frames", model.transformer, RetrievalConfig()) as rendering:
        tell(f"rendering clips in {rendering.num_workers} processes")
        train = _all_clips(rendering, "train", encoder)
        test = _all_clips(rendering, "test", encoder)
    held_out = held_out_clips([clip for clip, _ in test], [z for _, z in test], model.intrinsics)
    write_latents(folder, "test", held_out)
    stacked = {
        name: torch.cat([getattr(clip.segmented, name) for clip, _ in train])
        for name in ClipBatch.__dataclass_fields__
        if name != "latents"
    }
    length = stacked["poses"].shape[1]
    stacked["latents"] = torch.stack([latents[:length] for _, latents in train])
    ids = json.dumps([clip.clip_id for clip, _ in train])
    write_tensors(folder / CLIPS_FILE, stacked, {_HEADER: ids})
    tell(f"{len(train)} clips to learn from, {len(test)} held out")


def load_clips(
    folder: Path, shape: TransformerConfig, device: torch.device
) -> tuple[StackedClips, LatentClips]:
    """Return the clips to learn from, on a device, and the held-out ones.

    A shape that remembers nothing, or has a shorter past, sees the end of each segment's context.
    """
    held_out = read_latents(folder, "test")
    with safe_open(folder / CLIPS_FILE, framework="pt", device=str(device)) as file:
        ids = json.loads(file.metadata()[_HEADER])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if shape.num_memory_latents == 0:
        for name in ("context_indices", "context_valid"):
            tensors[name] = tensors[name][..., -shape.num_past_latents :]
    if tensors["context_indices"].shape[-1] != shape.num_context_latents:
        message = (
            f"{folder}: segments see {tensors['context_indices'].shape[-1]} latents, expected "
            f"{shape.num_context_latents}"
        )
        raise DataError(message)
    return StackedClips(ClipBatch(**tensors), ids, held_out.intrinsics), held_out


def _all_clips(feed: Feed, split: str, vae: VideoVAE) -> list[tuple[StoredClip, Tensor]]:
    """Return a split's clips with their latents [L, C, H, W], in their order, as all are done."""
    folder = ClipFolder(feed.folder, "train" if split == "train" else "test")
    config = feed.config
    planned = config.procedural_clips + config.vizdoom_clips
    if split == "test":
        planned = config.held_out_clips * (
            bool(config.procedural_clips) + bool(config.vizdoom_clips)
        )
    found: list[tuple[StoredClip, Tensor]] = []
    while True:
        feed.require_alive()
        is_last = folder.num_done >= planned
        came = folder.poll(_CLIPS_AT_ONCE)
        found += [(clip, _encoded(vae, clip)) for clip in came]
        if not came and is_last:
            break
        if not came:
            time.sleep(_POLL_SECONDS)
    if not found:
        message = f"{feed.folder}, split {split!r}: no clip was kept of {planned}"
        raise DataError(message)
    return sorted(found, key=lambda pair: pair[0].clip_id)


@torch.inference_mode()
def _encoded(vae: VideoVAE, clip: StoredClip) -> Tensor:
    video = to_video(clip.frames.numpy()).to(vae.encoder.latent_mean.device)
    return vae.encode(video)[0].transpose(0, 1).half().cpu()
