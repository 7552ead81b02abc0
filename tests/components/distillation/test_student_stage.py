"""Stages C1 and C2 as tasks: what they store, and what the second goes on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.distillation import distil_cold_start, distil_multi_segment
from components.distillation.student_config import (
    DistilColdStartStepConfig,
    DistilMultiSegmentStepConfig,
    DistilStageConfig,
)
from components.distillation.student_stage import critic_of
from components.runtime import StepContext
from worldloom.camera import Intrinsics
from worldloom.data.latents import LatentClips, write_latents
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.config import SamplerConfig
from worldloom.store import ArtifactStore, open_store
from worldloom.train.model_checkpoint import load_model, save_model
from worldloom.train.tracking import NullTracker

SHAPE = TransformerConfig(
    latent_channels=4, latent_height=4, latent_width=4, dim=40, num_blocks=1, num_heads=2,
    ffn_dim=32, num_action_blocks=1, action_dim=16, action_num_heads=2, text_dim=8,
)  # fmt: skip
SMALL = {"num_steps": 1, "batch_clips": 2, "critic_updates_per_student_update": 1}


def recorded(seed: int) -> LatentClips:
    generator = torch.Generator().manual_seed(seed)
    frames = 1 + 4 * 6
    return LatentClips(
        latents=torch.randn(2, 7, 4, 4, 4, generator=generator).half(),
        poses=torch.eye(4).expand(2, frames, 4, 4).contiguous(),
        keyboard=torch.zeros(2, frames, 6),
        mouse=torch.zeros(2, frames, 2),
        prompts=["a maze"] * 2,
        clip_ids=["clip-0", "clip-1"],
        sources=["procedural"] * 2,
        intrinsics=Intrinsics.from_fov(32, 32),
        frame_size=(32, 32),
    )


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def parents(tmp_path: Path, store: ArtifactStore) -> dict[str, str]:
    base, latents = tmp_path / "base", tmp_path / "latents"
    latents.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_model(
            base,
            WorldModelTransformer(SHAPE),
            sampler=SamplerConfig(),
            retrieval=RetrievalConfig(),
        )
    write_latents(latents, "train", recorded(1))
    write_latents(latents, "test", recorded(2))
    return {
        "base": store.put(base, kind="base-checkpoint", config={}, parents={}),
        "latents": store.put(latents, kind="latents", config={}, parents={}),
    }


def context(
    config: DistilStageConfig, parents: dict[str, str], store: ArtifactStore, scratch: Path
) -> StepContext:
    scratch.mkdir()
    return StepContext(config, parents, store, scratch, NullTracker())


def test_a_stage_that_is_given_in_part_keeps_the_rest_of_its_recipe() -> None:
    multi = DistilMultiSegmentStepConfig.model_validate({"distillation": {"batch_clips": 2}})
    assert multi.distillation.max_segments == 6
    assert multi.distillation.rollouts == "persistent"
    cold = DistilColdStartStepConfig.model_validate({"distillation": {"student": {}}})
    assert cold.distillation.student.betas == (0.0, 0.99)


@pytest.mark.slow
def test_the_second_stage_goes_on_from_student_and_critic_of_the_first(
    tmp_path: Path, store: ArtifactStore, parents: dict[str, str]
) -> None:
    cold = DistilColdStartStepConfig.model_validate(
        {"distillation": {**SMALL, "max_segments": 1}, "measured_segments": 1}
    )
    made = distil_cold_start.run(context(cold, parents, store, tmp_path / "cold"))["student"]
    first = store.fetch(made)
    assert critic_of(first) is not None
    # At rate zero the second stage leaves what it was given.
    still = {"learning_rate": 1e-30}
    multi = DistilMultiSegmentStepConfig.model_validate(
        {
            "distillation": {
                **SMALL,
                "max_segments": 2,
                "rollouts": "persistent",
                "student": still,
                "critic": still,
            },
            "measured_segments": 1,
        }
    )
    given = {**parents, "student": made}
    second = store.fetch(
        distil_multi_segment.run(context(multi, given, store, tmp_path / "multi"))["student"]
    )
    before, after = (load_file(f / "transformer.safetensors") for f in (first, second))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-6, atol=1e-20, msg=name)
    assert critic_of(second) is None  # nothing comes after
    transformer, _ = load_model(second)
    assert transformer.config == SHAPE
    metrics = json.loads((second / "metrics.json").read_text())
    assert len(metrics["history"]) == 1
