"""The bench asks what it says it asks; whether this machine is fast is not tested."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldloom.bench.memory import MemoryBenchConfig, Situation, measure_memory
from worldloom.bench.regret import REFERENCE_INTRINSICS, REFERENCE_RETRIEVAL
from worldloom.memory.config import BankConfig
from worldloom.memory.reference import retrieve_reference
from worldloom.memory.retrieval import retrieve

CPU = torch.device("cpu")
SMALL = MemoryBenchConfig(
    num_trajectories=4,
    num_samples=3,
    num_hull_samples=2,
    num_warmup=1,
    num_evictions=3,
    hull_frames=100,
    few_frames=60,
    many_frames=200,
)


@pytest.fixture(scope="module")
def situation():
    return Situation(100, SMALL, CPU)


def test_ours_and_the_reference_answer_the_same_question(situation):
    """The window of 56 frames ends after the 40 new ones; its 16 past ones are no candidates."""
    assert (situation.start, situation.end) == (84, 140)
    expected = retrieve(
        situation.frames[situation.queries],
        situation.frames[:84:4],
        5,
        REFERENCE_RETRIEVAL,
        REFERENCE_INTRINSICS,
    )
    assert situation.ask_ours().tolist() == expected
    slots = retrieve_reference(situation.frames, situation.start, situation.end)
    frames = situation.ask_reference()
    assert [slot.latent_index for slot in slots][:-1] == [(f - 1) // 4 + 1 for f in frames[:-1]]


def test_hulls_are_asked_for_every_candidate_and_query(situation):
    chosen = situation.ask_hulls()
    assert len(chosen) == len(situation.queries) == 5
    np.testing.assert_array_equal(situation.candidates, situation.frames[:84:4])


@pytest.mark.slow
def test_a_small_bench_states_everything():
    report = measure_memory(SMALL, CPU, "worldloom bench memory")
    found = {measurement.name: measurement for measurement in report.measurements}
    assert found["query at 100 frames, exact hulls"].num_samples == 2
    assert found["ours, query at 200 frames"].num_samples == 3
    assert found["exact overlap lost: ours, first choice"].num_samples == 4
    assert [bar.limit for bar in report.bars] == [50.0, 1.2, 0.05]
    hulls, ours = found["query at 100 frames, exact hulls"], found["query at 100 frames, ours"]
    assert report.bars[0].value == hulls.median / ours.median
    assert report.bars[2].value == found["exact overlap lost: ours, first choice"].mean


def test_an_append_of_the_bench_goes_into_a_full_index():
    config = SMALL.model_copy(update={"bank": BankConfig(capacity=10, recent_latents=4)})
    situation = Situation(100, config, CPU)
    before = len(situation.index)
    situation.append_next()
    assert len(situation.index) == before + 1
    assert (situation.index.latent_indices >= 0).all()
