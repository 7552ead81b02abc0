"""Batches drawn ahead are the ones that would be drawn in turn."""

from __future__ import annotations

import threading

import pytest
import torch

from worldloom.train.prefetch import Prefetch
from worldloom.train.run_control import step_generator


def draw(step: int, generator: torch.Generator) -> tuple[int, float]:
    return step, float(torch.rand((), generator=generator))


def generator_of(step: int) -> torch.Generator:
    return step_generator(7, step)


@pytest.mark.parametrize("num_ahead", [0, 1, 3])
def test_drawing_ahead_changes_neither_batches_nor_what_is_drawn_after(num_ahead: int) -> None:
    with Prefetch(draw, generator_of, range(2, 6), num_ahead=num_ahead) as batches:
        for step in range(2, 6):
            taken, plain = batches.take(), generator_of(step)
            assert taken.batch == draw(step, plain)
            assert torch.equal(
                torch.rand(3, generator=taken.generator), torch.rand(3, generator=plain)
            )


def test_the_next_batch_is_drawn_while_a_step_computes() -> None:
    drawn = {step: threading.Event() for step in range(3)}

    def noted(step: int, _generator: torch.Generator) -> int:
        drawn[step].set()
        return step

    with Prefetch(noted, generator_of, range(3), num_ahead=1) as batches:
        assert batches.take().batch == 0
        assert drawn[1].wait(timeout=60)  # without being asked for
        assert not drawn[2].is_set()


def test_an_error_of_a_draw_is_raised_where_the_batch_is_taken() -> None:
    def fails(step: int, _generator: torch.Generator) -> int:
        message = f"step {step}: no clip"
        raise ValueError(message)

    with (
        Prefetch(fails, generator_of, range(3), num_ahead=2) as batches,
        pytest.raises(ValueError, match="step 0: no clip"),
    ):
        batches.take()
