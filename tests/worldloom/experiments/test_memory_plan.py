"""What each rule remembers of a palindrome."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import CONFIG, INTRINSICS

from worldloom.evaluate.suite import session_poses
from worldloom.experiments.memory_plan import Retrieval, plan_context
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.retrieval import retrieve

RETRIEVAL = Retrieval(CONFIG, RetrievalConfig(), BankConfig(), INTRINSICS)
NUM_MEMORY = CONFIG.num_memory_latents


def plan(case, choice, retrieval=RETRIEVAL, seed=0):
    return plan_context(session_poses(case), choice, retrieval, seed)


def memory(made, segment):
    slots = slice(0, NUM_MEMORY)
    return made.chosen[segment, slots][made.is_valid[segment, slots]].tolist()


@pytest.mark.parametrize("choice", ["ours", "reference", "random", "none", "oracle"])
def test_the_recent_past_is_always_seen_and_memory_is_older(cases, choice):
    made = plan(cases[0], choice)
    assert len(made.chosen) == 5
    for segment in range(5):
        start = 1 + 3 * segment
        past = made.chosen[segment, NUM_MEMORY:][made.is_valid[segment, NUM_MEMORY:]].tolist()
        assert past == list(range(max(0, start - CONFIG.num_past_latents), start))
        assert all(latent < start for latent in memory(made, segment))


def test_none_remembers_nothing(cases):
    assert not plan(cases[0], "none").is_valid[:, :NUM_MEMORY].any()


def test_the_oracle_takes_the_mirrored_latents(cases):
    made = plan(cases[0], "oracle")
    # Latents 13, 14 and 15 of 16 are the mirror of 2, 1 and 0.
    assert sorted(memory(made, 4)) == [0, 1, 2]


def test_memory_that_is_held_keeps_each_latent_for_forty_frames(cases):
    held = plan(cases[0], "held")
    kept = CONFIG.model_copy(update={"memory_refresh_frames": 40})
    same = plan(cases[0], "ours", Retrieval(kept, RETRIEVAL.settings, RETRIEVAL.bank, INTRINSICS))
    assert np.array_equal(held.chosen, same.chosen)
    assert not np.array_equal(held.chosen, plan(cases[0], "ours").chosen)


def test_ours_is_what_retrieval_chooses_where_no_slot_is_held(cases):
    shape = CONFIG.model_copy(update={"memory_refresh_frames": 0})
    free = Retrieval(shape, RETRIEVAL.settings, RETRIEVAL.bank, INTRINSICS)
    made = plan(cases[0], "ours", free)
    poses = session_poses(cases[0])[::4]
    for segment in range(1, 5):
        start = 1 + 3 * segment
        expected = retrieve(
            poses[start : start + 3], poses[: max(0, start - 2)], NUM_MEMORY,
            RETRIEVAL.settings, INTRINSICS,
        )  # fmt: skip
        assert sorted(memory(made, segment)) == sorted(expected)


def test_the_reference_ends_with_its_sink(cases):
    made = plan(cases[0], "reference")
    for segment in range(2, 5):
        assert made.chosen[segment, NUM_MEMORY - 1] == 1


def test_random_keeps_the_sink_draws_none_twice_and_follows_its_seed(cases):
    first, same, other = (plan(cases[0], "random", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.chosen, same.chosen)
    assert not np.array_equal(first.chosen, other.chosen)
    for segment in range(2, 5):
        drawn = memory(first, segment)
        assert drawn[0] == 0
        assert len(set(drawn)) == NUM_MEMORY
