"""Each figure of a claim comes from where it is: walks, pooled patches, or what an arm costs."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.latency import summarise_seconds
from worldloom.experiments.answers import answers_of, cost_of
from worldloom.experiments.cells import Cell, WalkRecord
from worldloom.experiments.claims import (
    DENOISE_SECONDS,
    SEGMENT_SECONDS,
    STORED_RATIO,
    Claim,
    Limit,
)
from worldloom.experiments.novelty import FRECHET
from worldloom.experiments.timing import Times

BOOTSTRAP = BootstrapConfig()


def cell(arm, slopes, seconds=1.0, stored_ratio=1.0, seed_index=0):
    walks = tuple(
        WalkRecord(
            clip_id=f"c{index}", world="w", noise_seed=index,
            values={"slope": value, "ssim": None}, segment_psnr_db=(1.0,),
        )
        for index, value in enumerate(slopes)
    )  # fmt: skip
    return Cell(
        key=arm, arm=arm, seed_index=seed_index, world="procedural", path="palindrome",
        walks=walks, batch_size=1, weight_bytes=4, weight_ratio=1.0, device="cpu",
        one_walk=summarise_seconds([seconds]), denoise_seconds=seconds / 2,
        stored_ratio=stored_ratio,
    )  # fmt: skip


SLOPES = -np.random.default_rng(0).uniform(0.5, 1.5, 24)
CELLS = {
    "teacher": [cell("teacher", SLOPES, seconds=3.0)],
    "student": [cell("student", 0.5 * SLOPES, seconds=0.2, stored_ratio=0.3)],
    "rising": [cell("rising", -SLOPES)],
    "still": [cell("still", SLOPES - SLOPES.mean())],
}
DRAWS = {
    "teacher": np.array([4.0, 3.0, 5.0]), "student": np.array([2.0, 1.5, 2.5]), "still": None,
    "rising": None,
}  # fmt: skip


def answered(figure, arm="student", comparison="value", against=None, cells=CELLS, **values):
    claim = Claim(
        says="s", figure=figure, arm=arm, comparison=comparison, against=against, **values
    )
    return answers_of([claim], "procedural", cells, DRAWS, BOOTSTRAP, control="teacher")


def test_a_ratio_is_drawn_with_the_same_walks_on_both_sides():
    [found] = answered("slope", comparison="ratio", against="teacher")
    assert found.found.low == pytest.approx(0.5)
    assert found.found.high == pytest.approx(0.5)


def test_what_may_be_zero_is_not_divided_by():
    limits = {"procedural": Limit(most=1)}
    [found] = answered("slope", comparison="ratio", against="still", limits=limits)
    assert (found.found, found.outcome) == (None, "no answer")


def test_a_ratio_of_falls_is_of_what_falls():
    [found] = answered("slope", comparison="ratio", against="teacher", is_of_loss=True)
    assert found.found.mean == pytest.approx(0.5)
    [none] = answered("slope", comparison="ratio", against="rising", is_of_loss=True)
    assert none.found is None
    [plain] = answered("slope", comparison="ratio", against="rising")
    assert plain.found.mean < 0


def test_a_difference_and_a_value_have_their_intervals():
    [value] = answered("slope")
    assert value.found.low < value.found.mean == pytest.approx(0.5 * SLOPES.mean())
    [less] = answered("slope", comparison="difference", against="teacher")
    assert less.found.mean == pytest.approx(-0.5 * SLOPES.mean())


def test_frechet_is_divided_draw_by_draw():
    [found] = answered(FRECHET, comparison="ratio", against="teacher")
    assert (found.found.mean, found.found.low, found.found.high) == (0.5, 0.5, 0.5)
    [less] = answered(FRECHET, comparison="difference", against="teacher")
    assert less.found.mean == -2.0


def test_costs_are_of_arms_and_have_no_interval():
    [times] = answered(SEGMENT_SECONDS, arm="teacher", comparison="ratio", against="student")
    assert times.found.mean == pytest.approx(15)
    assert times.found.low is None
    [stored] = answered(STORED_RATIO)
    assert stored.found.mean == 0.3
    assert cost_of(CELLS["teacher"], DENOISE_SECONDS) == 1.5


def test_what_was_not_run_or_measured_has_no_answer():
    assert answered("slope", comparison="ratio", against="nobody") == []
    assert answered("ssim") == []
    assert answered(FRECHET, arm="still") == []


def test_the_control_counts_as_it_was_timed_in_turns_with_the_other():
    beside = Times(segment=summarise_seconds([1.0]), denoise_seconds=0.8)
    [student] = CELLS["student"]
    cells = CELLS | {"student": [student.model_copy(update={"control": beside})]}
    asked = {"arm": "teacher", "comparison": "ratio", "against": "student", "cells": cells}
    [whole] = answered("segment_seconds", **asked)
    [denoising] = answered("denoise_seconds", **asked)
    assert whole.found.mean == pytest.approx(1.0 / 0.2)
    assert denoising.found.mean == pytest.approx(0.8 / 0.1)
    [the_other_way] = answered(
        "segment_seconds", comparison="ratio", against="teacher", cells=cells
    )
    assert the_other_way.found.mean == pytest.approx(0.2 / 1.0)
    [alone] = answered("segment_seconds", arm="teacher", cells=cells)
    assert alone.found.mean == pytest.approx(3.0)
