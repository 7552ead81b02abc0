"""Walks in a batch are the walks that sessions take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_transformer

from worldloom.evaluate.suite import session_poses
from worldloom.experiments.memory_plan import Retrieval, plan_context
from worldloom.experiments.walks import GivenPast, films, walk
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession
from worldloom.train.vae_windows import to_video

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


@pytest.mark.slow
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
    pairs = zip(walked.denoise_seconds, walked.segment_seconds, strict=True)
    assert all(0 < denoising < whole for denoising, whole in pairs)


def truth(model, cases):
    """The recordings' own latents."""
    with torch.inference_mode():
        return torch.cat(
            [model.encoder(to_video(case.frames))[0].transpose(1, 2) for case in cases]
        )


@pytest.mark.parametrize("reach", ["latent", "window", "bidirectional"])
def test_first_segments_that_are_given_are_what_later_ones_see(cases, reach):
    model = with_shape(tiny_model(), reach=reach, accepts_inexact_replay=True)
    plans = plans_of(model, cases)
    own = walk(model, cases, plans, SEEDS).latents
    # What it made itself, given back, changes nothing; something else does, and from there on.
    same = walk(model, cases, plans, SEEDS, GivenPast(own, num_segments=2)).latents
    assert torch.allclose(same, own, atol=1e-4)
    given = GivenPast(truth(model, cases), num_segments=2)
    other = walk(model, cases, plans, SEEDS, given).latents
    assert torch.equal(other[:, 1:7], given.latents[:, 1:7])
    assert not torch.allclose(other[:, 7:10], own[:, 7:10], atol=1e-3)


@pytest.mark.parametrize("reach", ["latent", "bidirectional"])
def test_a_forced_segment_hangs_on_no_other(cases, reach):
    model = with_shape(tiny_model(), reach=reach)
    plans, given = plans_of(model, cases), truth(model, cases)
    forced = walk(model, cases, plans, SEEDS, GivenPast(given, is_forced=True)).latents
    behind = walk(model, cases, plans, SEEDS, GivenPast(given, num_segments=3)).latents
    assert torch.allclose(forced[:, 10:13], behind[:, 10:13], atol=1e-4)
    assert not torch.allclose(forced[:, 4:7], given[:, 4:7], atol=1e-3)


def test_a_forced_segment_may_start_near_its_own_latents(cases):
    model = tiny_model()
    plans, given = plans_of(model, cases), truth(model, cases)
    near, far = (
        walk(model, cases, plans, SEEDS, GivenPast(given, is_forced=True, start_sigma=sigma))
        for sigma in (0.01, 0.9)
    )
    near_gap, far_gap = ((made.latents - given)[:, 1:].abs().mean() for made in (near, far))
    assert near_gap < 0.1 < far_gap


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
