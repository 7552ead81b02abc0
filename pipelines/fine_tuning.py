"""What a run asks for otherwise where it begins from starter weights, not from nothing.

What these learnt from thousands of clips, a minute with a few can spoil sooner than mend: rates are
low and fall to nothing. Fourteen steps of a `nano-stream` base that a GPU had trained, on 4 of 77
clips each, moved the loss of 23 clips of unseen worlds by this much (three seeds):

    rate 2e-5: +0.10 %, +0.17 %, +0.25 %    5e-6: +0.01, +0.01, +0.03    2e-6: 0.00, 0.00, +0.01

The harm goes with the square of the rate: it is the noise of a few steps, and next to it nothing is
gained that shows. So the base learns at 2e-6; a `freedoom` base, nine minutes of a GPU old, went by
its 12 steps from 0.8084 to 0.8079. The VAE's decoder lost 0.01 dB of 29.85 by 24 steps at 1e-4 and
gained 0.002 at 2e-5. A decoder of half the channels, taught for 235 steps before, gained 0.19 dB by
40 steps at 1e-3 and 0.10 at 2e-4.

A student that draws what it does not know is blurred by the squared error to recordings: by six
updates at 2e-6 a `freedoom` student's sharpness went from 0.88 of the recordings' to 0.78 with a
weight of 0.75, and to 0.89 without (PSNR 15.40 dB before, 15.63 and 15.47 after); at 2e-5 with it,
the demo's release was less than half as sharp as before. The small student is a mean of student and
base, blurred as it is, and gains by that error.

How many steps there are hangs on how large frames are, since what counts is the time. It does not
know the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worldloom.config import JsonValue

Values = Mapping[str, Mapping[str, JsonValue]]


@dataclass(frozen=True)
class Budget:
    """How much of everything fits into the demo's minutes; clips are those of each source."""

    train_clips: int
    test_clips: int
    batch: int
    vae_steps: int
    transformer_steps: int
    student_updates: int
    student_rate: float
    regression_weight: float
    decoder_steps: int


_SMALL_PIXELS = 64 * 64
_SMALL = Budget(
    train_clips=40,
    test_clips=12,
    batch=8,
    vae_steps=60,
    transformer_steps=60,
    student_updates=30,
    student_rate=2e-5,
    regression_weight=0.75,
    decoder_steps=200,
)
# A step of the 96x160 starter takes about eleven times as long.
_LARGE = Budget(
    train_clips=24,
    test_clips=8,
    batch=4,
    vae_steps=24,
    transformer_steps=12,
    student_updates=6,
    student_rate=2e-6,
    regression_weight=0.0,
    decoder_steps=40,
)


def fine_tuning_values(preset: str, frame_size: tuple[int, int]) -> Values:
    """Return settings by task, to be laid over a preset's; none for a preset that is for tests."""
    if preset != "demo":
        return {}
    height, width = frame_size
    budget = _SMALL if height * width <= _SMALL_PIXELS else _LARGE
    batch = budget.batch
    clips: dict[str, JsonValue] = {"train": budget.train_clips, "test": budget.test_clips}
    return {
        "ingest": {"procedural_clips": clips, "vizdoom_clips": clips},
        "train_vae": {
            "objective": {"batch_size": batch},
            "trainer": {"num_steps": budget.vae_steps, "learner": {"learning_rate": 2e-5}},
        },
        "train_transformer": {
            "objective": {"batch_clips": batch},
            "trainer": {
                "num_steps": budget.transformer_steps,
                "learner": {
                    "learning_rate": 2e-6,
                    "warmup_steps": 4,
                    "schedule": "cosine",
                    "decay_steps": budget.transformer_steps,
                    "final_fraction": 0.0,
                },
            },
        },
        "distil_student": {
            "distillation": {
                "num_steps": budget.student_updates,
                "batch_clips": batch,
                "regression_weight": budget.regression_weight,
                "student": {"learning_rate": budget.student_rate, "precision": "bf16"},
                "critic": {"learning_rate": 2 * budget.student_rate, "precision": "bf16"},
            }
        },
        "distil_decoder": {
            "objective": {"batch_size": batch},
            "trainer": {"num_steps": budget.decoder_steps, "learner": {"learning_rate": 1e-3}},
        },
    }
