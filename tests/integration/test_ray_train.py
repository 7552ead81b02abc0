"""Ray Train starts the very entry that one process runs, and its checkpoint goes on alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from worldloom.camera import Intrinsics
from worldloom.data.latents import LatentClips, write_latents
from worldloom.errors import TrainingError
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.config import SamplerConfig
from worldloom.train.checkpoint import load_checkpoint
from worldloom.train.config import LearnerConfig, TrainerConfig
from worldloom.train.flow_config import FlowObjectiveConfig
from worldloom.train.flow_job import FlowJob, averaged_state, run_job
from worldloom.train.model_checkpoint import save_model
from worldloom.train.ray_workers import run_on_workers

ENTRY = "worldloom.train.flow_job:run_job_text"
SHAPE = TransformerConfig(
    latent_channels=4, latent_height=4, latent_width=4, dim=40, num_blocks=1, num_heads=2,
    ffn_dim=32, num_action_blocks=1, action_dim=16, action_num_heads=2, text_dim=8,
)  # fmt: skip


def recorded(seed: int) -> LatentClips:
    generator = torch.Generator().manual_seed(seed)
    frames = 1 + 4 * 6
    return LatentClips(
        latents=torch.randn(4, 7, 4, 4, 4, generator=generator).half(),
        poses=torch.eye(4).expand(4, frames, 4, 4).contiguous(),
        keyboard=torch.zeros(4, frames, 6),
        mouse=torch.zeros(4, frames, 2),
        prompts=["a maze"] * 4,
        clip_ids=[f"clip-{index}" for index in range(4)],
        sources=["procedural"] * 4,
        intrinsics=Intrinsics.from_fov(32, 32),
        frame_size=(32, 32),
    )


def job(folder: Path, name: str, num_steps: int) -> FlowJob:
    return FlowJob(
        start=folder / "start",
        latents=folder / "latents",
        folder=folder / name,
        objective=FlowObjectiveConfig(batch_clips=4),
        trainer=TrainerConfig(
            num_steps=num_steps,
            num_threads=1,
            learner=LearnerConfig(learning_rate=1e-3, zero_stage=1),
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "latents").mkdir()
    for split, seed in (("train", 1), ("test", 2)):
        write_latents(tmp_path / "latents", split, recorded(seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = WorldModelTransformer(SHAPE)
    save_model(tmp_path / "start", start, sampler=SamplerConfig(), retrieval=RetrievalConfig())
    return tmp_path


@pytest.mark.timeout(600)
def test_two_workers_learn_what_one_process_learns_and_one_goes_on(folder: Path) -> None:
    run_on_workers(ENTRY, job(folder, "two", 3).model_dump_json(), 2)
    saved = load_checkpoint(folder / "two")
    assert saved is not None
    assert saved.tensors["num_steps"] == 3
    whole = run_job(job(folder, "one", 5)).history
    alone = run_job(job(folder, "two", 5)).history
    assert [row["loss"] for row in alone] == pytest.approx([row["loss"] for row in whole], rel=1e-3)
    transformer = WorldModelTransformer(SHAPE)
    transformer.load_state_dict(averaged_state(saved.tensors))


@pytest.mark.timeout(600)
def test_a_failing_worker_is_one_sentence(folder: Path) -> None:
    wrong = job(folder, "wrong", 3).model_copy(
        update={"objective": FlowObjectiveConfig(batch_clips=3)}
    )
    with pytest.raises(TrainingError, match="a batch of 3: expected a multiple of the 2 processes"):
        run_on_workers(ENTRY, wrong.model_dump_json(), 2)
