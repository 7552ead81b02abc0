"""The pictures of an evaluation."""

from __future__ import annotations

import dataclasses

import av
import numpy as np
import pytest
from records import clip_result

from worldloom.evaluate.config import TurningConfig
from worldloom.evaluate.presentation import (
    first_of_each_source,
    trace_turn,
    write_contact_sheet,
    write_film,
)
from worldloom.evaluate.suite import Rollout


@pytest.fixture
def rollouts(clips):
    return [Rollout(clip, clip.frames[:25], clip_result(clip.clip_id)) for clip in clips]


def test_trace_of_the_recording_follows_what_was_asked(rollouts):
    trace = trace_turn(rollouts[2].clip, rollouts[2].frames, TurningConfig())
    asked = np.array(trace.asked)
    assert trace.frames[:3] == (0, 2, 4)
    assert np.abs(asked).min() > 3
    assert np.median(np.abs(np.array(trace.model) - asked)) <= 0.5
    assert trace.model == trace.ground_truth


def test_pairs_across_a_sidestep_are_left_out(rollouts):
    keyboard = np.zeros_like(rollouts[2].clip.keyboard)
    keyboard[10, 2] = 1
    clip = dataclasses.replace(rollouts[2].clip, keyboard=keyboard)
    trace = trace_turn(clip, rollouts[2].frames, TurningConfig())
    assert trace.frames == (0, 2, 4, 10, 12, 14, 16, 18, 20)


@pytest.mark.slow
def test_film_and_sheet_are_written(rollouts, tmp_path):
    write_film(tmp_path, rollouts[:2])
    write_contact_sheet(tmp_path, rollouts)
    with av.open(str(tmp_path / "side_by_side.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50
    assert (tmp_path / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")


def test_one_rollout_stands_for_a_source(rollouts):
    assert first_of_each_source(rollouts) == rollouts[:1]
