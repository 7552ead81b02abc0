"""A timeline writes down what a session did, and changes nothing of it."""

import numpy as np
from tiny import FRAME_SIZE, tiny_model

from worldloom.actions import Actions
from worldloom.bench.gpu_timeline import PARTS, Timeline
from worldloom.rollout.session import WorldSession


def session_of(model):
    image = np.zeros((*FRAME_SIZE, 3), np.uint8)
    return WorldSession(model, image=image, prompt="a room", seed=0)


def walked(session, num_segments):
    still = Actions.still(session.segment_frames)
    return [session.begin_segment(still).wait() for _ in range(num_segments)]


def test_parts_are_within_their_segments_and_frames_are_the_same():
    model, timeline = tiny_model(), Timeline()
    expected = walked(session_of(model), 5)
    session = session_of(timeline.of_model(model))
    with timeline.watched(model.decoder):
        found = walked(timeline.of_session(session), 5)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    parts = timeline.milliseconds(3)
    assert tuple(parts) == PARTS
    assert {len(taken) for taken in parts.values()} == {3}
    whole = np.array(parts["segment"])
    for name in ("prepare", "step", "commit", "decode", "retrieval"):
        assert (np.array(parts[name]) > 0).all(), name
        assert (np.array(parts[name]) < whole).all(), name


def test_a_decoder_is_watched_no_longer_than_asked():
    model, timeline = tiny_model(), Timeline()
    session = timeline.of_session(session_of(model))
    with timeline.watched(model.decoder):
        walked(session, 1)
    assert len(timeline._segments[-1].named("decode")) == 1
    walked(session, 1)
    assert not timeline._segments[-1].named("decode")
