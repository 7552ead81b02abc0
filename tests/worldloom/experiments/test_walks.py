"""Walks in a batch are the walks that sessions take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_transformer

from worldloom.evaluate.suite import session_poses
from worldloom.experiments.memory_plan import Retrieval, plan_context
from worldloom.experiments.walks import films, walk
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession

SEEDS = [11, 12, 13]


def plans_of(model, cases, choice="ours"):
    shape = model.transformer.config
    retrieval = Retrieval(shape, model.retrieval, model.bank, model.intrinsics)
    return [plan_context(session_poses(case), choice, retrieval, 0) for case in cases]


def session_walk(model, case, seed, *, memory=True):
    pitch = 0.0
    session = WorldSession(
        model, image=case.frames[0], prompt=case.prompt, seed=seed, memory=memory,
        pitch_radians=pitch,
    )  # fmt: skip
    poses, size = session_poses(case), model.segment_frames
    frames = [session.first_frame[None]]
    for start in range(1, case.num_frames, size):
        at = slice(start, start + size)
        frames.append(session.generate_segment(case.actions[at], poses[at]))
    return session.snapshot().latents, np.concatenate(frames)


def with_shape(model, **changes):
    shape = model.transformer.config.model_copy(update=changes)
    transformer = WorldModelTransformer(shape)
    transformer.load_state_dict(tiny_transformer().state_dict())
    return replace(
        model, transformer=transformer.eval(), conditioner=Conditioner(shape, model.intrinsics)
    )


@pytest.mark.parametrize("reach", ["latent", "segment"])
def test_a_batch_of_walks_is_what_sessions_give(cases, reach):
    model = with_shape(tiny_model(), reach=reach)
    walked = walk(model, cases, plans_of(model, cases), SEEDS)
    for case, seed, latents, frames in zip(
        cases, SEEDS, walked.latents, films(model, walked.latents), strict=True
    ):
        expected, expected_frames = session_walk(model, case, seed)
        assert torch.allclose(latents, expected, atol=2e-4)
        assert np.abs(frames.astype(int) - expected_frames).max() <= 1


def test_no_memory_is_a_session_without_memory(cases):
    model = tiny_model()
    walked = walk(model, cases[:1], plans_of(model, cases[:1], "none"), SEEDS[:1])
    expected, _ = session_walk(model, cases[0], SEEDS[0], memory=False)
    assert torch.allclose(walked.latents[0], expected, atol=2e-4)


def test_many_steps_without_fresh_noise_are_what_a_session_gives(cases):
    model = replace(
        tiny_model(), sampler=SamplerConfig(sigmas=(1.0, 0.8, 0.5, 0.2), solver="unipc")
    )
    walked = walk(model, cases[:1], plans_of(model, cases[:1]), SEEDS[:1])
    expected, _ = session_walk(model, cases[0], SEEDS[0])
    assert torch.allclose(walked.latents[0], expected, atol=2e-4)


def test_a_walk_does_not_hang_on_who_walks_beside_it(cases):
    model = tiny_model()
    plans = plans_of(model, cases)
    together = walk(model, cases, plans, SEEDS).latents[2]
    alone = walk(model, cases[2:], plans[2:], SEEDS[2:]).latents[0]
    assert torch.allclose(together, alone, atol=2e-4)


def test_memory_changes_what_is_seen(cases):
    model = tiny_model()
    ours, none = (
        walk(model, cases[:1], plans_of(model, cases[:1], choice), SEEDS[:1]).latents
        for choice in ("ours", "none")
    )
    assert not torch.allclose(ours, none, atol=1e-2)
