"""The quantization step: INT8 weights, a release that opens, honest parity, places to begin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from components.quantization.config import QuantizeStepConfig
from components.quantization.places import pick_places
from components.quantization.quantize import STEP, run
from components.runtime import StepContext
from worldloom.actions import Actions
from worldloom.camera import Intrinsics, Kinematics, integrate_poses
from worldloom.data.clips import write_clips
from worldloom.data.schema import Clip, Source, Split
from worldloom.errors import DataError
from worldloom.evaluate.parity import read_parity
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VideoVAE, save_decoder, save_vae
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.release import load_release
from worldloom.store import ArtifactStore, open_store
from worldloom.train.model_checkpoint import load_model, save_model
from worldloom.train.tracking import NullTracker

FRAMES = 13
TRANSFORMER = TransformerConfig(
    latent_height=4,
    latent_width=4,
    dim=32,
    num_blocks=2,
    num_heads=2,
    ffn_dim=64,
    num_action_blocks=1,
    action_dim=16,
    action_num_heads=2,
    text_dim=16,
    num_past_latents=2,
    num_memory_latents=2,
)


def clip(name: str, source: Source, world: str, split: Split, size: int = 32) -> Clip:
    keyboard, mouse = np.zeros((FRAMES, 6)), np.zeros((FRAMES, 2))
    mouse[1:, 1] = 0.1
    frames = np.random.default_rng(len(name)).integers(0, 256, (FRAMES, size, size, 3), np.uint8)
    return Clip(
        clip_id=name,
        source=source,
        world=world,
        split=split,
        trajectory="spin",
        prompt=f"a walk in {world}",
        frames=frames,
        poses_c2w=integrate_poses(np.eye(4), keyboard, mouse, Kinematics()).astype(np.float32),
        intrinsics=Intrinsics.from_fov(size, size),
        keyboard=keyboard.astype(np.float32),
        mouse=mouse.astype(np.float32),
    )


CLIPS = [
    clip("p0", "procedural", "seed 7", "test"),
    clip("p1", "procedural", "seed 7", "test"),
    clip("p2", "procedural", "seed 8", "test"),
    clip("t0", "procedural", "seed 1", "train"),
    clip("v0", "vizdoom", "map01", "test"),
]


def random_models() -> tuple[WorldModelTransformer, VideoVAE]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = WorldModelTransformer(TRANSFORMER)
        torch.nn.init.normal_(transformer.head.weight, std=0.1)
        return transformer, VideoVAE(VAEConfig())


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def parents(tmp_path: Path, store: ArtifactStore) -> dict[str, str]:
    transformer, vae = random_models()
    folders = {name: tmp_path / name for name in ("student", "vae", "decoder", "clips")}
    for folder in folders.values():
        folder.mkdir()
    sampler = SamplerConfig(sigmas=(1.0, 0.5))
    save_model(folders["student"], transformer, sampler=sampler, retrieval=RetrievalConfig())
    save_vae(folders["vae"], vae)
    save_decoder(folders["decoder"], vae.decoder)
    write_clips(folders["clips"], CLIPS)
    return {
        "student": store.put(folders["student"], kind="student-checkpoint", config={}, parents={}),
        "vae": store.put(folders["vae"], kind="vae-checkpoint", config={}, parents={}),
        "decoder": store.put(folders["decoder"], kind="decoder-checkpoint", config={}, parents={}),
        "clips": store.put(folders["clips"], kind="clips", config={}, parents={}),
    }


def run_in(
    scratch: Path, parents: dict[str, str], store: ArtifactStore, **values: object
) -> dict[str, str]:
    scratch.mkdir()
    parity = {"num_worlds": 2, "num_segments": 1}
    config = QuantizeStepConfig.model_validate({"num_threads": 1, "parity": parity} | values)
    return dict(run(StepContext(config, parents, store, scratch, NullTracker())))


def test_release_opens_and_plays_what_parity_compared(
    tmp_path: Path, parents: dict[str, str], store: ArtifactStore
) -> None:
    outputs = run_in(tmp_path / "scratch", parents, store)
    assert set(outputs) == set(STEP.outputs)
    assert store.manifest(outputs["release"]).parents["quantized"] == outputs["quantized"]
    folder = store.fetch(outputs["release"], kind="release")
    release = load_release(folder)
    names = [world.name for world in release.worlds]
    assert names == ["procedural-seed-7", "vizdoom-map01", "procedural-seed-8"]
    assert np.abs(release.worlds[0].image.astype(int) - CLIPS[0].frames[0]).mean() < 20
    session = release.open_session(
        image=release.worlds[0].image, prompt=release.worlds[0].prompt, seed=1
    )
    assert session.generate_segment(Actions.still(12)).shape == (12, 32, 32, 3)
    report = read_parity(folder)
    assert report is not None
    assert report.latent_cosine > 0.99
    assert 0 < report.latent_relative_error < 0.1
    assert report.weight_bytes_ratio < 1
    assert report.num_frames == 2 * 12


def test_quantized_checkpoint_is_int8_with_its_layers_parity(
    tmp_path: Path, parents: dict[str, str], store: ArtifactStore
) -> None:
    outputs = run_in(tmp_path / "scratch", parents, store, linears={"layers": "attention"})
    folder = store.fetch(outputs["quantized"], kind="quantized-checkpoint")
    transformer, known = load_model(folder)
    assert known.sampler.sigmas == (1.0, 0.5)
    int8 = [n for n, v in transformer.state_dict().items() if v.dtype == torch.int8]
    assert int8
    assert all(".self_attn." in name or ".cross_attn." in name for name in int8)
    rows = json.loads((folder / "parity.json").read_text())["layers"]
    assert [row["name"] for row in rows][-1] == "output"
    assert {f"{row['name']}.weight_int8" for row in rows[:-1]} == set(int8)
    assert all(row["cosine"] > 0.99 for row in rows)


@pytest.mark.slow
def test_same_inputs_make_the_same_digests(
    tmp_path: Path, parents: dict[str, str], store: ArtifactStore
) -> None:
    first = run_in(tmp_path / "1", parents, store)
    assert run_in(tmp_path / "2", parents, store) == first


def test_places_take_turns_over_sources_and_never_share_a_world(
    parents: dict[str, str], store: ArtifactStore
) -> None:
    folder = store.fetch(parents["clips"])
    assert [place.name for place in pick_places(folder, "train", 5)] == ["procedural-seed-1"]
    assert [place.name for place in pick_places(folder, "test", 2)] == [
        "procedural-seed-7",
        "vizdoom-map01",
    ]


def test_places_of_two_cameras_are_refused(tmp_path: Path) -> None:
    other = clip("v1", "vizdoom", "map02", "test", size=64)
    write_clips(tmp_path / "clips", [CLIPS[0], other])
    with pytest.raises(DataError, match="2 start images from 2 different cameras"):
        pick_places(tmp_path / "clips", "test", 4)
    with pytest.raises(DataError, match="0 start images"):
        pick_places(tmp_path / "clips", "train", 4)
