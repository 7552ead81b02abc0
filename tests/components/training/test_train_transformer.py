"""The base model's step: trains, goes on after a kill, measures before and after, shows a walk."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from components.runtime import StepContext
from components.training.sample_video import sample_walk, write_walk
from components.training.train_transformer import STEP, run
from components.training.transformer_config import TrainTransformerStepConfig
from worldloom.camera import Intrinsics, Kinematics, integrate_poses
from worldloom.data.latents import LatentClips, write_latents
from worldloom.errors import ArtifactError, DataError, TrainingError
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VideoVAE, save_vae
from worldloom.rollout.config import SamplerConfig
from worldloom.store import ArtifactStore, open_store
from worldloom.train.flow_batch import FlowBatch
from worldloom.train.flow_objective import FlowObjective
from worldloom.train.model_checkpoint import load_model, save_model

TRANSFORMER = TransformerConfig(
    latent_height=4,
    latent_width=4,
    dim=32,
    num_blocks=2,
    num_heads=2,
    ffn_dim=64,
    num_action_blocks=1,
    action_dim=8,
    action_num_heads=2,
    action_rotary_dim=4,
    text_dim=16,
    num_past_latents=2,
    num_memory_latents=2,
)
FRAMES = 25


def recorded(count: int, seed: int) -> LatentClips:
    generator = torch.Generator().manual_seed(seed)
    mouse = np.zeros((FRAMES, 2))
    mouse[1:, 1] = 0.2
    keyboard = np.zeros((FRAMES, 6))
    keyboard[1:, 0] = 1
    poses = integrate_poses(np.eye(4), keyboard, mouse, Kinematics())
    picture = torch.randn(1, 16, 4, 4, generator=generator)
    return LatentClips(
        latents=(picture + 0.1 * torch.randn(count, 7, 16, 4, 4, generator=generator)).half(),
        poses=torch.from_numpy(poses).float().expand(count, -1, -1, -1).contiguous(),
        keyboard=torch.from_numpy(keyboard).float().expand(count, -1, -1).contiguous(),
        mouse=torch.from_numpy(mouse).float().expand(count, -1, -1).contiguous(),
        prompts=["a maze"] * count,
        clip_ids=[f"clip-{index}" for index in range(count)],
        sources=["procedural"] * count,
        intrinsics=Intrinsics.from_fov(32, 32),
        frame_size=(32, 32),
    )


class RecordingTracker:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.metrics: set[str] = set()

    def log_params(self, params: Mapping[str, str | float | int]) -> None:
        assert params

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        assert step >= 0
        self.metrics |= set(metrics)

    def log_file(self, path: Path, folder: str) -> None:
        self.files[f"{folder}/{path.name}"] = path.read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def latents(tmp_path: Path, store: ArtifactStore) -> str:
    vae, folder = tmp_path / "vae", tmp_path / "latents"
    vae.mkdir()
    folder.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_vae(vae, VideoVAE(VAEConfig()))
    write_latents(folder, "train", recorded(4, seed=1))
    write_latents(folder, "test", recorded(2, seed=1))
    made_by = store.put(vae, kind="vae-checkpoint", config={}, parents={})
    return store.put(folder, kind="latents", config={}, parents={"vae": made_by})


def settings(steps: int = 6, **values: object) -> TrainTransformerStepConfig:
    given = {
        "transformer": TRANSFORMER,
        "objective": {"batch_clips": 2, "error_buffer": {"warmup_steps": 1}},
        "trainer": {
            "num_steps": steps,
            "checkpoint_every_steps": 2,
            "num_threads": 1,
            "learner": {"learning_rate": 0.01},
        },
        "sampler": {"sigmas": [1.0, 0.5], "solver": "euler"},
        "sample": {"num_segments": 1},
    }
    return TrainTransformerStepConfig.model_validate(given | values)


def context(
    config: TrainTransformerStepConfig, latents: str, store: ArtifactStore, scratch: Path
) -> StepContext[TrainTransformerStepConfig]:
    scratch.mkdir(exist_ok=True)
    return StepContext(config, {"latents": latents}, store, scratch, RecordingTracker())


@pytest.mark.slow
def test_loss_falls_and_everything_is_kept(
    tmp_path: Path, latents: str, store: ArtifactStore
) -> None:
    given = context(settings(steps=30), latents, store, tmp_path / "scratch")
    outputs = run(given)
    assert set(outputs) == set(STEP.outputs)
    folder = store.fetch(outputs["base"], kind="base-checkpoint")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["held_out_loss_after"] < 0.8 * metrics["held_out_loss_before"]
    assert len(metrics["history"]) == 30
    assert "step_seconds" not in metrics["history"][0]
    transformer, known = load_model(folder)
    assert transformer.config == TRANSFORMER
    assert known.sampler == given.config.sampler
    tracker = given.tracker
    assert isinstance(tracker, RecordingTracker)
    assert {"train/loss", "evaluation/held_out_loss"} <= tracker.metrics
    with av.open(io.BytesIO(tracker.files["samples/held_out_walk.mp4"])) as video:
        assert sum(1 for _ in video.decode(video=0)) == 13


@pytest.mark.slow
def test_killed_and_undisturbed_runs_make_the_same_artifact(
    tmp_path: Path, latents: str, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(context(settings(), latents, store, tmp_path / "whole"))
    original = FlowObjective.loss_of

    def dies(
        self: FlowObjective, batch: FlowBatch, step: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        if step == 5:
            message = "killed"
            raise TrainingError(message)
        return original(self, batch, step, generator)

    monkeypatch.setattr(FlowObjective, "loss_of", dies)
    with pytest.raises(TrainingError, match="killed"):
        run(context(settings(), latents, store, tmp_path / "killed"))
    monkeypatch.undo()
    assert run(context(settings(), latents, store, tmp_path / "killed")) == whole


def test_starter_is_fine_tuned_and_checked(
    tmp_path: Path, latents: str, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "starter" / "base"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        starter = WorldModelTransformer(TRANSFORMER)
    retrieval = settings().objective.retrieval
    save_model(base, starter, sampler=SamplerConfig(), retrieval=retrieval, dtype=torch.float16)
    digest = "sha256:" + hashlib.sha256((base / "transformer.safetensors").read_bytes()).hexdigest()
    config = settings(steps=1, starter=digest, transformer=TransformerConfig())
    with pytest.raises(ArtifactError, match=r"no base/transformer\.safetensors there"):
        run(context(config, latents, store, tmp_path / "scratch"))
    monkeypatch.setenv("WORLDLOOM_STARTER", str(tmp_path / "starter"))
    outputs = run(context(config, latents, store, tmp_path / "scratch"))
    transformer, _ = load_model(store.fetch(outputs["base"]))
    expected = starter.state_dict()["patch_embed.weight"]
    torch.testing.assert_close(
        transformer.state_dict()["patch_embed.weight"], expected, rtol=0, atol=0.02
    )
    other = settings(starter="sha256:" + "0" * 64)
    with pytest.raises(ArtifactError, match="its digest is"):
        run(context(other, latents, store, tmp_path / "scratch"))


def test_latents_without_their_vae_cannot_be_shown(tmp_path: Path, store: ArtifactStore) -> None:
    folder = tmp_path / "latents"
    folder.mkdir()
    write_latents(folder, "train", recorded(2, seed=1))
    write_latents(folder, "test", recorded(1, seed=2))
    latents = store.put(folder, kind="latents", config={}, parents={})
    with pytest.raises(ArtifactError, match="no parent 'vae'"):
        run(context(settings(steps=1), latents, store, tmp_path / "scratch"))


def test_walk_is_as_long_as_what_was_recorded_allows(tmp_path: Path) -> None:
    config = settings(sample={"num_segments": 99, "scale": 2})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer, vae = WorldModelTransformer(TRANSFORMER).eval(), VideoVAE(VAEConfig()).eval()
    walk = sample_walk(
        transformer,
        vae,
        recorded(1, seed=1),
        config.sample,
        sampler=config.sampler,
        retrieval=config.objective.retrieval,
    )
    assert walk.generated.shape == walk.recorded.shape == (25, 32, 32, 3)
    assert np.array_equal(walk.generated[0], walk.recorded[0])
    write_walk(tmp_path / "walk.mp4", walk, scale=2)
    with av.open(str(tmp_path / "walk.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.height, stream.width) == (64, 136)
    with pytest.raises(DataError, match=r"clip_index=1: 1 held-out clips"):
        sample_walk(
            transformer,
            vae,
            recorded(1, seed=1),
            config.sample.model_copy(update={"clip_index": 1}),
            sampler=config.sampler,
            retrieval=config.objective.retrieval,
        )
