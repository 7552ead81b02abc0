"""Latents: one length, the VAE's own numbers, keyed by both parents; bad clips are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from components.runtime import StepContext
from components.training.encode_latents import STEP, run
from components.training.vae_config import EncodeLatentsStepConfig
from worldloom.camera import Intrinsics
from worldloom.data.clips import read_clips, write_clips
from worldloom.data.latents import read_latents
from worldloom.data.schema import Clip, Split
from worldloom.errors import DataError
from worldloom.model.vae.video_vae import VAEConfig, VideoVAE, load_vae, save_vae
from worldloom.store import ArtifactStore, open_store
from worldloom.train.tracking import NullTracker
from worldloom.train.vae_windows import to_video

TINY = VAEConfig(latent_channels=4, encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8))
CONFIG = EncodeLatentsStepConfig(batch_clips=2, num_threads=1)


def clip(name: str, split: Split, num_frames: int = 9, size: int = 16) -> Clip:
    generator = np.random.default_rng([*name.encode()])
    mouse = np.zeros((num_frames, 2), np.float32)
    mouse[1:, 1] = generator.random()
    return Clip(
        clip_id=name,
        source="procedural",
        world=name,
        split=split,
        trajectory="free",
        prompt=f"room {name}",
        frames=generator.integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8),
        poses_c2w=np.tile(np.eye(4, dtype=np.float32), (num_frames, 1, 1)),
        intrinsics=Intrinsics.from_fov(size, size),
        keyboard=np.zeros((num_frames, 6), np.float32),
        mouse=mouse,
    )


def context(
    tmp_path: Path, clips: list[Clip], config: EncodeLatentsStepConfig = CONFIG, vae_seed: int = 0
) -> StepContext[EncodeLatentsStepConfig]:
    store: ArtifactStore = open_store(str(tmp_path / "store"))
    write_clips(tmp_path / "clips", clips)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(vae_seed)
        vae = VideoVAE(TINY)
    (tmp_path / "vae").mkdir(exist_ok=True)
    save_vae(tmp_path / "vae", vae)
    parents = {
        "clips": store.put(tmp_path / "clips", kind="clips", config={}, parents={}),
        "vae": store.put(tmp_path / "vae", kind="vae-checkpoint", config={}, parents={}),
    }
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return StepContext(config, parents, store, tmp_path / "scratch", NullTracker())


CLIPS = [clip("a", "train"), clip("b", "train", 13), clip("c", "train"), clip("d", "test")]


def test_latents_are_the_encoders_and_carry_what_was_recorded(tmp_path: Path) -> None:
    step = context(tmp_path, CLIPS)
    outputs = run(step)
    assert set(outputs) == set(STEP.outputs)
    folder = step.store.fetch(outputs["latents"], kind="latents")
    latents = read_latents(folder, "train")
    assert latents.clip_ids == ["a", "b", "c"]
    assert latents.prompts[1] == "room b"
    assert latents.latents.shape == (3, 3, 4, 2, 2)
    assert latents.latents.dtype == torch.float16
    assert latents.frame_size == (16, 16)
    assert torch.equal(latents.mouse[1], torch.from_numpy(CLIPS[1].mouse[:9]))
    frames = [recorded.frames for recorded in read_clips(tmp_path / "clips", "train")][1]
    with torch.no_grad():
        expected = load_vae(tmp_path / "vae").encode(to_video(frames[:9]))[0].transpose(0, 1)
    assert torch.allclose(latents.latents[1].float(), expected, atol=2e-3)
    assert read_latents(folder, "test").clip_ids == ["d"]


def test_another_vae_means_another_digest(tmp_path: Path) -> None:
    digests = []
    for seed in (0, 0, 1):
        folder = tmp_path / str(len(digests))
        folder.mkdir()
        digests.append(run(context(folder, CLIPS, vae_seed=seed))["latents"])
    assert digests[0] == digests[1] != digests[2]


def test_a_clip_shorter_than_asked_is_named(tmp_path: Path) -> None:
    step = context(tmp_path, CLIPS, CONFIG.model_copy(update={"num_frames": 13}))
    with pytest.raises(DataError, match="clip 'a': 9 frames, expected at least 13"):
        run(step)


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split 'test': no clips"):
        run(context(tmp_path, CLIPS[:2]))


def test_two_cameras_in_a_split_are_refused(tmp_path: Path) -> None:
    mixed = [clip("a", "train"), clip("d", "test"), clip("e", "test", size=24)]
    with pytest.raises(DataError, match="clip 'e': height, width and intrinsics"):
        run(context(tmp_path, mixed))
