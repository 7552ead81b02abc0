import numpy as np
import pytest
import torch
from tiny import FRAME_SIZE, tiny_reference_model

from worldloom.actions import Actions
from worldloom.errors import ConfigError, DataError
from worldloom.rollout.reference_session import ReferenceSession
from worldloom.rollout.reference_window import require_reference_segments

MODEL = tiny_reference_model()
IMAGE = np.random.default_rng(0).integers(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)


def session(model=MODEL, **options):
    return ReferenceSession(model, image=IMAGE, prompt="a room", **({"seed": 0} | options))


def actions(count, yaw=0.1):
    keyboard = np.zeros((count, 6), np.float32)
    mouse = np.zeros((count, 2), np.float32)
    keyboard[:, 0], mouse[:, 1] = 1, yaw
    return Actions(keyboard, mouse)


def walk(session, yaws):
    return [session.generate_segment(actions(session.segment_frames, yaw)) for yaw in yaws]


def test_segments_add_the_references_frames():
    made = session()
    assert made.num_frames == 1
    assert [len(frames) for frames in walk(made, (0.1, 0.2, 0.3))] == [56, 40, 40]
    assert made.num_frames == 137
    assert made.segment_index == 3


def test_the_same_seed_gives_the_same_frames_and_another_others():
    one, two, other = (walk(session(seed=seed), (0.1, 0.2)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[1], other[1])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cover", "reference"])
def test_a_resumed_session_goes_on_with_the_same_frames(method):
    model = tiny_reference_model(method=method)
    made = session(model)
    walk(made, (0.1, -0.2, 0.3))
    again = ReferenceSession.resume(model, made.snapshot(), prompt="a room", seed=0)
    assert np.array_equal(again.first_frame, made.first_frame)
    for expected, found in zip(walk(made, (0.1, 0.2)), walk(again, (0.1, 0.2)), strict=True):
        assert np.array_equal(expected, found)


def test_memory_and_guidance_each_change_what_is_generated_after_the_first_window():
    plain = walk(session(), (0.1, 0.1))
    without = walk(session(memory=False), (0.1, 0.1))
    assert np.array_equal(plain[0], without[0])
    assert not np.array_equal(plain[1], without[1])
    guided = walk(session(tiny_reference_model(guidance_scale=5.0)), (0.1,))
    assert not np.array_equal(plain[0], guided[0])


def test_past_latents_are_given_back_as_they_are():
    """The tail of a segment is the past of the next: it is stored once and not changed."""
    made = session()
    walk(made, (0.1,))
    before = made.snapshot().latents.clone()
    walk(made, (0.2,))
    torch.testing.assert_close(made.snapshot().latents[: len(before)], before, atol=0, rtol=0)


def test_every_step_sees_clean_context_and_noisy_latents(monkeypatch):
    """Memory and past are at noise level 0 at every step, new latents at the sampler's."""
    model, seen = tiny_reference_model(), []
    denoise = model.transformer.denoise

    def recording(latents, sigma, prepared, context=None):
        seen.append((latents[:, :, : sigma.shape[1]].clone(), sigma.clone(), prepared.segment))
        return denoise(latents, sigma, prepared, context)

    monkeypatch.setattr(model.transformer, "denoise", recording)
    made = session(model)
    walk(made, (0.1, 0.1))
    steps = len(model.sampler.sigmas)
    first, later = seen[:steps], seen[steps:]
    for _, sigma, segment in first:
        assert sigma.shape == (1, 15)
        assert segment.num_memory == 0
        assert sigma[0, 0] == 0
        assert (sigma[0, 1:] > 0).all()
    past = made.snapshot().latents[11:15].transpose(0, 1)[None]
    for latents, sigma, segment in later:
        num_memory = segment.num_memory
        assert num_memory == 5
        assert sigma.shape == (1, 19)
        assert not sigma[0, :9].any()
        torch.testing.assert_close(latents[:, :, num_memory : num_memory + 4], past)
    told = [round(1000 * float(sigma[0, -1])) for _, sigma, _ in later]
    assert told == [999, 908, 713]


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="40 frames, expected the 56"):
        session().generate_segment(actions(40))
    stream = MODEL.transformer.config.model_copy(update={"segment_latents": 3})
    with pytest.raises(ConfigError, match="segment_latents"):
        require_reference_segments(stream)
    poses = np.repeat(np.eye(4)[None], 56, axis=0)
    poses[3, 0, 0] = 2.0
    with pytest.raises(DataError, match="3"):
        session().generate_segment(actions(56), poses)
