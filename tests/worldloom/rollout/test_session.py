import dataclasses

import numpy as np
import pytest
import torch
from tiny import CONFIG, FRAME_SIZE, tiny_model

from worldloom.actions import Actions
from worldloom.camera import integrate_poses
from worldloom.errors import DataError
from worldloom.memory.config import BankConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.realtime.fast_transformer import FastTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession

MODEL = tiny_model()
IMAGE = np.random.default_rng(0).integers(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)
LENGTH = MODEL.segment_frames


def session(seed=0, **options):
    return WorldSession(MODEL, image=IMAGE, prompt="a room", seed=seed, **options)


def actions(yaw=0.1, forward=1.0, length=LENGTH):
    keyboard = np.zeros((length, 6), np.float32)
    mouse = np.zeros((length, 2), np.float32)
    keyboard[:, 0], mouse[:, 1] = forward, yaw
    return Actions(keyboard, mouse)


def test_a_segment_adds_its_frames():
    walk = session()
    frames = walk.generate_segment(actions())
    assert frames.shape == (LENGTH, *FRAME_SIZE, 3)
    assert frames.dtype == np.uint8
    assert walk.num_frames == 1 + LENGTH
    assert walk.segment_index == 1
    assert walk.first_frame.shape == (*FRAME_SIZE, 3)


def test_the_same_seed_and_actions_give_the_same_frames_and_another_seed_others():
    one, two, other = session(), session(), session(seed=1)
    for _ in range(2):
        a, b, c = (walk.generate_segment(actions()) for walk in (one, two, other))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_actions_change_what_is_seen():
    left, right = (session().generate_segment(actions(yaw)) for yaw in (-0.2, 0.2))
    assert not np.array_equal(left, right)


def test_a_resumed_session_goes_on_with_the_same_frames():
    walk = session()
    for yaw in (0.1, -0.2, 0.0, 0.2):
        walk.generate_segment(actions(yaw))
    again = WorldSession.resume(MODEL, walk.snapshot(), prompt="a room", seed=0)
    assert again.num_frames == walk.num_frames
    for yaw in (0.1, 0.2):
        expected = walk.generate_segment(actions(yaw))
        assert np.array_equal(expected, again.generate_segment(actions(yaw)))


def model_of(**changes):
    """The tiny model with another shape and the same weights where they fit."""
    config = TransformerConfig.model_validate(CONFIG.model_dump() | changes)
    transformer = WorldModelTransformer(config)
    transformer.load_state_dict(MODEL.transformer.state_dict())
    return dataclasses.replace(
        MODEL,
        transformer=transformer.eval(),
        conditioner=Conditioner(config, MODEL.intrinsics),
        bank=BankConfig(capacity=10, recent_latents=5),
    )


SHAPES = {
    "latent": {},
    "segment": {"reach": "segment"},
    "segments of one latent": {"segment_latents": 1},
    "panorama": {"position": "panorama", "num_heads": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_a_session_whose_caches_are_thrown_away_goes_on_as_an_unbroken_one(changes):
    """Keys, values and decoder features follow from latents, poses and actions alone."""
    model = model_of(**changes)
    length = model.segment_frames
    steps = [actions(yaw, length=length) for yaw in (0.1, -0.2, 0.0, 0.2, 0.3, 0.1, -0.1, 0.2)]
    kept, thrown = (WorldSession(model, image=IMAGE, prompt="a room", seed=0) for _ in range(2))
    for step in steps:
        kept.generate_segment(step)
        thrown.generate_segment(step)
        thrown.drop_caches()
    resumed = WorldSession.resume(model, kept.snapshot(), prompt="a room", seed=0)
    for step in steps[:2]:
        expected = kept.generate_segment(step)
        assert np.array_equal(thrown.generate_segment(step), expected)
        assert np.array_equal(resumed.generate_segment(step), expected)
    for other in (thrown, resumed):
        torch.testing.assert_close(
            other.snapshot().latents, kept.snapshot().latents, atol=1e-5, rtol=0
        )
        assert other.slots.latents == kept.slots.latents


def test_window_reach_goes_on_differently_once_its_caches_are_gone():
    """The exact replay that this reach gives up, and why it must be asked for."""
    model = model_of(reach="window", accepts_inexact_replay=True)
    kept = WorldSession(model, image=IMAGE, prompt="a room", seed=0)
    for yaw in (0.1, -0.2, 0.0, 0.2):
        kept.generate_segment(actions(yaw))
    resumed = WorldSession.resume(model, kept.snapshot(), prompt="a room", seed=0)
    kept.generate_segment(actions())
    resumed.generate_segment(actions())
    gap = (kept.snapshot().latents - resumed.snapshot().latents).abs().max()
    assert gap > 1e-4


def test_one_call_of_five_segments_equals_five_calls():
    turns = [actions(yaw) for yaw in (0.1, -0.2, 0.0, 0.2, 0.1)]
    apart, together = session(), session()
    frames = np.concatenate([apart.generate_segment(turn) for turn in turns])
    joined = Actions(
        np.concatenate([turn.keyboard for turn in turns]),
        np.concatenate([turn.mouse for turn in turns]),
    )
    assert np.array_equal(together.generate(joined), frames)
    with pytest.raises(
        DataError, match=f"{LENGTH + 1} frames, expected whole segments of {LENGTH}"
    ):
        together.generate(Actions.still(LENGTH + 1))


def test_poses_that_are_given_replace_the_integrated_ones():
    moves = actions()
    poses = integrate_poses(
        np.eye(4), moves.keyboard.astype(float), moves.mouse.astype(float), MODEL.kinematics
    )
    given, integrated = session(), session()
    assert np.array_equal(given.generate_segment(moves, poses), integrated.generate_segment(moves))
    np.testing.assert_allclose(integrated.pose, poses[-1])
    blocked = np.repeat(np.eye(4)[None], LENGTH, axis=0)
    other = session()
    assert not np.array_equal(
        other.generate_segment(moves, blocked), session().generate_segment(moves)
    )


def test_memory_changes_what_is_generated_once_there_is_some():
    with_memory, without = session(), session(memory=False)
    for index in range(4):
        a, b = (walk.generate_segment(actions(0.2)) for walk in (with_memory, without))
        # The first segment after the past window overflows is the first that can differ.
        if 1 + index * CONFIG.segment_latents <= CONFIG.num_past_latents:
            assert np.array_equal(a, b)
    assert not np.array_equal(a, b)


@torch.inference_mode()
def test_length_has_no_limit_in_the_positions_it_uses():
    walk = session()
    segments = CONFIG.max_memory_gap // CONFIG.segment_latents + 3
    for _ in range(segments):
        frames = walk.generate_segment(actions(0.0))
    assert np.isfinite(frames.astype(float)).all()
    assert len(walk.truth) == 1 + segments * CONFIG.segment_latents


def test_another_number_of_actions_is_refused():
    with pytest.raises(DataError, match=f"5 frames, expected the {LENGTH} of a segment"):
        session().generate_segment(Actions.still(5))


def test_a_start_image_of_another_size_or_type_is_refused():
    with pytest.raises(DataError, match=r"\[8, 8, 3\], expected uint8 \[32, 32, 3\]"):
        WorldSession(MODEL, image=np.zeros((8, 8, 3), np.uint8), prompt="", seed=0)
    with pytest.raises(DataError, match="float64"):
        WorldSession(MODEL, image=np.zeros((*FRAME_SIZE, 3)), prompt="", seed=0)


@pytest.mark.slow
def test_with_room_for_all_that_may_become_memory_nothing_is_committed_again():
    model = dataclasses.replace(
        MODEL, bank=BankConfig(capacity=10, recent_latents=5), cached_latents=10
    )
    walk = WorldSession(model, image=IMAGE, prompt="a room", seed=0)
    for yaw in np.linspace(-1, 1, 12):
        walk.generate_segment(actions(yaw))
        assert len(walk.committed) <= 10
    assert walk.slots.num_writes > len(walk.truth)  # memory was written beside the past
    assert not walk.committed.num_recomputed
    few = WorldSession(
        dataclasses.replace(model, cached_latents=1), image=IMAGE, prompt="a room", seed=0
    )
    for yaw in np.linspace(-1, 1, 12):
        few.generate_segment(actions(yaw))
    assert few.committed.num_recomputed
    every = range(len(walk.truth))
    assert torch.equal(few.truth.latents(every), walk.truth.latents(every))


def test_keys_of_the_last_step_make_another_walk_and_a_resumed_one_goes_on():
    transformer = FastTransformer(MODEL.transformer)
    clean = dataclasses.replace(MODEL, transformer=transformer)
    last = dataclasses.replace(clean, commits_last_step=True)
    walks = [WorldSession(m, image=IMAGE, prompt="a room", seed=0) for m in (clean, last)]
    first = [walk.generate_segment(actions()) for walk in walks]
    assert np.array_equal(*first)  # both have seen the start image alone
    later = [walk.generate_segment(actions()) for walk in walks]
    assert not np.array_equal(*later)
    again = WorldSession.resume(last, walks[1].snapshot(), prompt="a room", seed=0)
    assert again.generate_segment(actions()).shape == later[1].shape
