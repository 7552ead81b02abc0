"""The VAE's step: from nothing, from a starter with its encoder untouched, and after a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from components.runtime import StepContext
from components.training.train_vae import STEP, run
from components.training.vae_config import TrainVaeStepConfig
from worldloom.camera import Intrinsics
from worldloom.data.clips import write_clips
from worldloom.data.schema import Clip, Split
from worldloom.errors import ArtifactError, TrainingError
from worldloom.model.vae.video_vae import VAEConfig, VideoVAE, load_vae, save_vae
from worldloom.store import ArtifactStore, open_store
from worldloom.train.config import LearnerConfig, TrainerConfig
from worldloom.train.tracking import NullTracker
from worldloom.train.vae_config import VAEObjectiveConfig
from worldloom.train.vae_objective import VAEObjective
from worldloom.train.vae_windows import Windows

TINY = VAEConfig(latent_channels=4, encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8))
CONFIG = TrainVaeStepConfig(
    vae=TINY,
    objective=VAEObjectiveConfig(batch_size=2, window_frames=5, evaluation_windows=2),
    trainer=TrainerConfig(
        num_steps=4,
        checkpoint_every_steps=1,
        num_threads=1,
        learner=LearnerConfig(learning_rate=1e-3),
    ),
)


def clip(seed: int, split: Split) -> Clip:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    return Clip(
        clip_id=f"{split}-{seed}",
        source="procedural",
        world=str(seed),
        split=split,
        trajectory="free",
        prompt="a room",
        frames=coarse.repeat(4, axis=1).repeat(4, axis=2),
        poses_c2w=np.tile(np.eye(4, dtype=np.float32), (9, 1, 1)),
        intrinsics=Intrinsics.from_fov(16, 16),
        keyboard=np.zeros((9, 6), np.float32),
        mouse=np.zeros((9, 2), np.float32),
    )


class FileTracker(NullTracker):
    """A tracker that keeps the names of files."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def log_file(self, path: Path, folder: str) -> None:
        assert path.is_file()
        self.files.append(f"{folder}/{path.name}")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path / "store"))


def context(
    store: ArtifactStore, tmp_path: Path, config: TrainVaeStepConfig, scratch: str = "scratch"
) -> StepContext[TrainVaeStepConfig]:
    folder = tmp_path / "clips"
    if not folder.exists():
        write_clips(folder, [*(clip(s, "train") for s in range(8)), clip(99, "test")])
    digest = store.put(folder, kind="clips", config={}, parents={})
    (tmp_path / scratch).mkdir(exist_ok=True)
    return StepContext(config, {"clips": digest}, store, tmp_path / scratch, FileTracker())


def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[VideoVAE, str]:
    folder = tmp_path / "starter" / "vae"
    folder.mkdir(parents=True)
    vae = VideoVAE(TINY)
    vae.set_latent_statistics(torch.full((4,), 0.5), torch.full((4,), 2.0))
    save_vae(folder, vae)
    monkeypatch.setenv("WORLDLOOM_STARTER", str(tmp_path / "starter"))
    weights = folder.joinpath("vae.safetensors").read_bytes()
    return load_vae(folder), "sha256:" + hashlib.sha256(weights).hexdigest()


def stored(store: ArtifactStore, outputs: Mapping[str, str]) -> VideoVAE:
    assert set(outputs) == set(STEP.outputs)
    return load_vae(store.fetch(outputs["vae"], kind="vae-checkpoint"))


@pytest.mark.slow
def test_from_nothing_all_is_trained_and_normalised(store: ArtifactStore, tmp_path: Path) -> None:
    step = context(store, tmp_path, CONFIG)
    outputs = run(step)
    vae = stored(store, outputs)
    assert not torch.equal(vae.encoder.latent_std, torch.ones(4))
    metrics = json.loads((store.fetch(outputs["vae"]) / "metrics.json").read_text())
    assert [row["step"] for row in metrics["evaluations"]] == [0, 4]
    assert isinstance(step.tracker, FileTracker)
    assert step.tracker.files == ["samples/reconstruction.png"]


def test_a_starters_encoder_and_normalisation_stay(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, digest = starter(tmp_path, monkeypatch)
    step = context(store, tmp_path, CONFIG.model_copy(update={"starter": digest}))
    vae = stored(store, run(step))
    before, after = original.encoder.state_dict(), vae.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(vae.decoder.latent_std, original.decoder.latent_std)
    assert not torch.equal(vae.decoder.conv_out.conv.weight, original.decoder.conv_out.conv.weight)


def test_a_starter_that_is_another_one_is_refused(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter(tmp_path, monkeypatch)
    other = CONFIG.model_copy(update={"starter": "sha256:" + "0" * 64})
    with pytest.raises(ArtifactError, match="its digest is"):
        run(context(store, tmp_path, other))


@pytest.mark.slow
def test_a_run_that_was_killed_ends_in_the_same_bytes(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(context(store, tmp_path, CONFIG, "undisturbed"))
    loss = VAEObjective.loss_of

    def dying(self: VAEObjective, batch: Windows, step: int, generator: torch.Generator) -> object:
        if step == 2:
            raise KeyboardInterrupt
        return loss(self, batch, step, generator)

    monkeypatch.setattr(VAEObjective, "loss_of", dying)
    with pytest.raises(KeyboardInterrupt):
        run(context(store, tmp_path, CONFIG, "killed"))
    monkeypatch.setattr(VAEObjective, "loss_of", loss)
    assert run(context(store, tmp_path, CONFIG, "killed")) == whole


@pytest.mark.slow
def test_a_checkpoint_of_other_shapes_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    run(context(store, tmp_path, CONFIG))
    wider = CONFIG.model_copy(update={"vae": TINY.model_copy(update={"latent_channels": 5})})
    with pytest.raises(TrainingError, match="the checkpoint has"):
        run(context(store, tmp_path, wider))
