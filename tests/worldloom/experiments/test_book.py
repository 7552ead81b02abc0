"""Rows of cells whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.bench.record import this_machine
from worldloom.evaluate.frechet import FrechetConfig
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.experiments.arms import Arm, Experiment, WalkPlan
from worldloom.experiments.book import make_book, read_book, write_book
from worldloom.experiments.cells import Cell, CellArrays, WalkRecord, cell_key
from worldloom.experiments.claims import Claim, Limit
from worldloom.experiments.novelty import FRECHET
from worldloom.experiments.page import page_of

FRECHET_CONFIG = FrechetConfig(channels=(2,), sizes=(0.5, 1.0), num_subsets=2)
EXPERIMENT = Experiment(
    name="e", question="Which?", control="plain",
    arms=(Arm(name="plain", title="as it is"), Arm(name="better", title="by a decibel")),
    walks=(WalkPlan(path="loop", num_segments=2, num_cases=8),), figures=("psnr_db", FRECHET),
    claims=(
        Claim(
            says="better is better", figure="psnr_db", path="loop", arm="better",
            comparison="difference", against="plain", limits={"procedural": Limit(least=1.05)},
        ),
        Claim(
            says="nobody gets lost", figure="ssim", path="loop", arm="better",
            limits={"procedural": Limit(least=1)},
        ),
    ),
)  # fmt: skip


def cell(arm, seed_index, psnr):
    walks = tuple(
        WalkRecord(
            clip_id=f"c{index}", world="w", noise_seed=index,
            values={"psnr_db": value, "ssim": None}, segment_psnr_db=(value, value - 1),
        )
        for index, value in enumerate(psnr)
    )  # fmt: skip
    return Cell(
        key=cell_key(arm, seed_index), arm=arm, seed_index=seed_index, world="procedural",
        path="loop", walks=walks, batch_size=8, weight_bytes=4, weight_ratio=1.0, device="cpu",
    )  # fmt: skip


def arrays(seed, offset=0.0, count=8):
    generator = np.random.default_rng(seed)
    made = [generator.normal(offset, 1, (count, 4)) for _ in range(8)]
    real = [np.random.default_rng(100 + i).normal(0, 1, (count, 4)) for i in range(8)]
    return CellArrays(made, real, np.zeros((1, 4, 4, 3), np.uint8))


def book(offset=2.0, count=8):
    generator = np.random.default_rng(0)
    plain = generator.normal(20, 3, 8)
    cells = [cell("plain", 0, plain)]
    cells += [cell("better", index, plain + 1 + 0.1 * index) for index in range(3)]
    beside = {c.key: arrays(i, 0.0 if i else offset, count) for i, c in enumerate(cells)}
    return make_book(
        EXPERIMENT, cells, beside, command="run e", machine=this_machine(torch.device("cpu")),
        left_out=(), bootstrap=BootstrapConfig(), frechet=FRECHET_CONFIG,
    )  # fmt: skip


def test_arms_are_compared_over_the_seeds_that_both_were_walked_for():
    generator = np.random.default_rng(0)
    plain = generator.normal(20, 3, 8)
    cells = [cell("plain", index, plain - 5 * index) for index in range(3)]
    cells += [cell("better", index, plain - 5 * index + 1) for index in range(2)]
    made = make_book(
        EXPERIMENT, cells, {c.key: arrays(i) for i, c in enumerate(cells)}, command="run e",
        machine=this_machine(torch.device("cpu")), left_out=(), bootstrap=BootstrapConfig(),
        frechet=FRECHET_CONFIG,
    )  # fmt: skip
    found = row(made, "psnr_db", "better")
    assert found.difference.mean == pytest.approx(1.0)
    assert found.difference.num_seeds == 2
    assert row(made, "psnr_db", "plain").value.mean == pytest.approx(plain.mean() - 5)


def row(made, figure, arm):
    [found] = [r for r in made.rows if (r.figure, r.arm) == (figure, arm)]
    return found


def test_a_paired_decibel_is_found_in_spite_of_spread():
    found = row(book(), "psnr_db", "better")
    assert found.difference.mean == pytest.approx(1.1)
    assert 0.95 < found.difference.low < found.difference.high < 1.25
    assert found.value.num_seeds == 3
    assert row(book(), "psnr_db", "plain").difference is None


def test_a_figure_that_no_walk_has_is_left_out():
    assert not [r for r in book().rows if r.figure == "ssim"]


def test_frechet_tells_the_arm_that_is_off():
    made = book(offset=2.0)
    off, right = row(made, FRECHET, "plain"), row(made, FRECHET, "better")
    assert off.value.mean == pytest.approx(16, rel=0.4)  # four features, two each
    assert right.value.mean < 2
    assert right.difference.high < 0


def test_too_few_patches_have_no_distance():
    assert not [r for r in book(count=1).rows if r.figure == FRECHET]


def test_a_book_comes_back_and_has_its_page(tmp_path):
    made = book()
    assert read_book(write_book(tmp_path, made)) == made
    page = page_of(made)
    assert "| psnr_db | dB | " in page
    assert "+1.10 [" in page


def test_claims_stand_on_the_page_with_what_came_of_them():
    made = book()
    assert [answer.outcome for answer in made.answers] == ["reached by the mean alone"]
    page = page_of(made)
    assert "| better is better<br>`psnr_db: better - plain`, loop | +1.10 [" in page
    assert "], n = 3 x 8; at least 1.05: **reached by the mean alone** |" in page
    assert "nobody gets lost" not in page


def test_a_page_tells_which_arms_have_several_trainings():
    assert "## procedural, loop: 8 walks, seeds: better 3, others 1" in page_of(book())
