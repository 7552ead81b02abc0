"""The network learns to tell turns, and its variations say what they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.camera import Kinematics
from worldloom.evaluate import inverse_dynamics_training as training_module
from worldloom.evaluate.inverse_dynamics import (
    InverseDynamicsConfig,
    action_accuracy,
    true_motion,
)
from worldloom.evaluate.inverse_dynamics_training import (
    InverseDynamicsTraining,
    record_lessons,
    train_inverse_dynamics,
)
from worldloom.evaluate.protocol import CasesConfig, record_case

CASES = CasesConfig(
    world="procedural", path="palindrome", num_cases=1, num_frames=49, height=32, width=32
)
CONFIG = InverseDynamicsConfig(height=32, width=32, channels=(16, 24, 32), hidden=64)
SPEED = Kinematics().speed_metres


@pytest.mark.slow
def test_a_brief_training_reads_turns_off_unseen_worlds_better_than_no_turn():
    lessons = InverseDynamicsTraining(num_clips=10, clip_frames=49, num_steps=150, batch_size=48)
    clips = record_lessons(CASES, lessons)
    network = train_inverse_dynamics(
        clips, CONFIG, lessons, speed_metres=SPEED, device=torch.device("cpu")
    )
    walk = record_case(CASES, 0)
    asked = true_motion(walk.poses_c2w.astype(float), SPEED)
    found = action_accuracy(network.read(walk.frames), asked)
    assert found.turn_error_degrees < 0.6 * np.abs(asked.turn_degrees).mean()


def test_lessons_are_of_worlds_that_no_case_and_no_capture_has():
    lessons = InverseDynamicsTraining(num_clips=2, clip_frames=9)
    worlds = {int(clip.world) for clip in record_lessons(CASES, lessons)}
    assert min(worlds) >= 700_000_000
    assert max(worlds) < int(record_case(CASES, 0).world)


def test_mirrored_and_backward_windows_keep_their_meaning():
    # A window whose brightest column says where it looks, and whose answer names its motion.
    ahead_left = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.5]])
    window = torch.zeros(1, 6, 8, 8)
    window[0, 0, :, 0] = 1.0
    meanings = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        seen, told = training_module._varied(window, ahead_left, generator, generator)
        time = int(seen.amax(dim=(2, 3)).argmax())
        column = int(seen[0, time].mean(dim=0).argmax())
        is_mirrored, is_backward = column > 3, time == 5
        meanings.add((is_mirrored, is_backward))
        ahead, back, left, right, turn = told[0].tolist()
        assert (ahead, back) == ((0, 1) if is_backward else (1, 0))
        assert (left, right) == ((1, 0) if is_mirrored == is_backward else (0, 1))
        assert turn == (0.5 if is_mirrored == is_backward else -0.5)
    assert len(meanings) == 4
