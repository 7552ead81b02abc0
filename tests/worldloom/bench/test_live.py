"""Playing a session: every frame comes out encoded, and times are in order."""

import numpy as np
import pytest
from tiny import FRAME_SIZE, tiny_model

from worldloom.bench.live import Play, encode
from worldloom.rollout.session import WorldSession


@pytest.fixture
def play():
    image = np.zeros((*FRAME_SIZE, 3), np.uint8)
    session = WorldSession(tiny_model(), image=image, prompt="a room", seed=0)
    made = Play(session, jpeg_quality=90, num_encoders=2, seed=0)
    yield made
    made.close()
    session.close()


def test_what_was_begun_comes_out_encoded_in_order_of_time(play):
    played = play.play(0.0, least_segments=4)
    assert len(played) == 4
    assert len(play.play(0.0, least_segments=2)) == 2
    assert len(play.segments) == 6
    for segment in play.segments:
        assert segment.acted <= segment.begun < segment.first_encoded <= segment.all_encoded
        assert segment.num_frames == play.session.segment_frames
        assert segment.num_bytes > 100 * segment.num_frames


def test_an_action_came_in_the_segment_before(play):
    play.play(0.0, least_segments=4)
    for before, segment in zip(play.segments, play.segments[1:], strict=False):
        assert before.begun <= segment.acted


def test_quality_is_paid_in_bytes():
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert encode(frame, 95) > encode(frame, 30) > 0
