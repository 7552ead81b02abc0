"""The decoder's step: a narrow decoder with its parity, the same bytes after a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from components.distillation.decoder_config import DistilDecoderStepConfig
from components.distillation.distil_decoder import STEP, run
from components.runtime import StepContext
from worldloom.camera import Intrinsics
from worldloom.data.clips import write_clips
from worldloom.data.schema import Clip, Split
from worldloom.distill.decoder import DecoderObjective
from worldloom.distill.decoder_config import DecoderObjectiveConfig, decoder_part
from worldloom.errors import ArtifactError
from worldloom.model.vae.video_vae import VAEConfig, VideoVAE, load_decoder, load_vae, save_vae
from worldloom.store import ArtifactStore, open_store
from worldloom.train.config import LearnerConfig, TrainerConfig
from worldloom.train.tracking import NullTracker
from worldloom.train.vae_windows import Windows

TINY = VAEConfig(latent_channels=4, encoder_widths=(8, 8, 8), decoder_widths=(16, 16, 16))
CONFIG = DistilDecoderStepConfig(
    objective=DecoderObjectiveConfig(batch_size=2, window_frames=5, evaluation_windows=2),
    trainer=TrainerConfig(
        num_steps=4,
        checkpoint_every_steps=1,
        num_threads=1,
        learner=LearnerConfig(learning_rate=1e-3),
    ),
)


def clip(seed: int, split: Split) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    return Clip(
        clip_id=f"{split}-{seed}",
        source="procedural",
        world=str(seed),
        split=split,
        trajectory="free",
        prompt="a room",
        frames=frames,
        poses_c2w=np.tile(np.eye(4, dtype=np.float32), (9, 1, 1)),
        intrinsics=Intrinsics.from_fov(16, 16),
        keyboard=np.zeros((9, 6), np.float32),
        mouse=np.zeros((9, 2), np.float32),
    )


def context(
    tmp_path: Path, scratch: str, config: DistilDecoderStepConfig = CONFIG
) -> StepContext[DistilDecoderStepConfig]:
    store: ArtifactStore = open_store(str(tmp_path / "store"))
    if not (tmp_path / "vae").exists():
        write_clips(tmp_path / "clips", [clip(0, "train"), clip(1, "train"), clip(2, "test")])
        (tmp_path / "vae").mkdir()
        save_vae(tmp_path / "vae", VideoVAE(TINY))
    parents = {
        "vae": store.put(tmp_path / "vae", kind="vae-checkpoint", config={}, parents={}),
        "clips": store.put(tmp_path / "clips", kind="clips", config={}, parents={}),
    }
    (tmp_path / scratch).mkdir(exist_ok=True)
    return StepContext(config, parents, store, tmp_path / scratch, NullTracker())


@pytest.mark.slow
def test_the_narrow_decoder_is_stored_with_its_parity(tmp_path: Path) -> None:
    step = context(tmp_path, "scratch")
    outputs = run(step)
    assert set(outputs) == set(STEP.outputs)
    folder = step.store.fetch(outputs["decoder"], kind="decoder-checkpoint")
    decoder = load_decoder(folder)
    assert decoder.config.decoder_widths == (8, 8, 8)
    latents = torch.zeros(1, 4, 3, 2, 2)
    assert decoder(latents)[0].shape == load_vae(tmp_path / "vae").decode(latents).shape
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["parameters"] < metrics["full_parameters"]
    last = metrics["evaluations"][-1]
    assert last["psnr_change_db"] == pytest.approx(last["pruned_psnr_db"] - last["full_psnr_db"])


def test_a_run_that_was_killed_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(context(tmp_path, "undisturbed"))
    loss_of = DecoderObjective.loss_of

    def dying(
        self: DecoderObjective, batch: Windows, step: int, generator: torch.Generator
    ) -> object:
        if step == 2:
            raise KeyboardInterrupt
        return loss_of(self, batch, step, generator)

    monkeypatch.setattr(DecoderObjective, "loss_of", dying)
    with pytest.raises(KeyboardInterrupt):
        run(context(tmp_path, "killed"))
    monkeypatch.setattr(DecoderObjective, "loss_of", loss_of)
    assert run(context(tmp_path, "killed")) == whole


@pytest.mark.parametrize("removed", [0.5, 0.75])
def test_a_starter_of_the_right_shape_is_taught_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: float
) -> None:
    step = context(tmp_path, "first")
    first = step.store.fetch(run(step)["decoder"])
    shutil.copytree(first, tmp_path / "starter" / decoder_part(CONFIG.objective.removed))
    monkeypatch.setenv("WORLDLOOM_STARTER", str(tmp_path / "starter"))
    weights = first.joinpath("decoder.safetensors").read_bytes()
    objective = CONFIG.objective.model_copy(update={"removed": removed})
    starter = "sha256:" + hashlib.sha256(weights).hexdigest()
    again = CONFIG.model_copy(update={"starter": starter, "objective": objective})
    if removed != CONFIG.objective.removed:
        with pytest.raises(ArtifactError, match="expected"):
            run(context(tmp_path, "second", again))
        return
    step = context(tmp_path, "second", again)
    folders = [step.store.fetch(run(step)["decoder"]), first]
    after, before = (json.loads((f / "metrics.json").read_text())["evaluations"] for f in folders)
    assert after[0]["parity_psnr_db"] == pytest.approx(before[-1]["parity_psnr_db"], abs=0.1)
