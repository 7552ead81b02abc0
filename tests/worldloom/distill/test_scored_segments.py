"""How long rollouts are, which segment is scored, and what of the past is the student's own."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_clips, tiny_transformer

from worldloom.distill.config import DistillationConfig
from worldloom.distill.draws import Draws
from worldloom.distill.scored_segments import ScoredSegments
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips

NUM_SEGMENTS = 4
CLIPS = SegmentedClips(tiny_clips(num_segments=NUM_SEGMENTS), CONFIG, RetrievalConfig())
STUDENT = tiny_transformer()
CPU = torch.device("cpu")


def segments(**values: object) -> ScoredSegments:
    config = DistillationConfig.model_validate({"batch_clips": 2, "max_segments": 3} | values)
    return ScoredSegments(config, CLIPS, Conditioner(CONFIG, INTRINSICS))


def own_segments(source: ScoredSegments, seed: int) -> tuple[int, list[int]]:
    """The scored segment, and which ones before it are not as recorded."""
    scored = source.next(STUDENT, CPU, Draws.of_host(torch.Generator().manual_seed(seed)))
    view, size = scored.view, CONFIG.segment_latents
    made, recorded = view.latents[:, 1:], view.batch.latents[:, 1:]
    own = [
        index
        for index in range(view.segment_index)
        if not torch.equal(
            made[:, index * size : (index + 1) * size],
            recorded[:, index * size : (index + 1) * size],
        )
    ]
    return view.segment_index, own


def test_a_cold_start_has_the_whole_past_as_recorded() -> None:
    source = segments(max_segments=1)
    assert all(own_segments(source, seed)[1] == [] for seed in range(6))


def test_rollouts_are_of_every_length_and_end_before_the_scored_segment() -> None:
    source, lengths = segments(), set()
    for seed in range(20):
        scored, own = own_segments(source, seed)
        assert own == list(range(scored - len(own), scored))
        lengths.add(1 + len(own))
    assert lengths == {1, 2, 3}


def test_the_shortest_length_holds() -> None:
    source = segments(min_segments=3)
    assert {len(own_segments(source, seed)[1]) for seed in range(6)} == {2}
    with pytest.raises(ValueError, match="min_segments=4: expected at most max_segments, 3"):
        segments(min_segments=4)


def test_persistent_rollouts_score_one_segment_more_each_time() -> None:
    source = segments(min_segments=3, rollouts="persistent")
    first, own = own_segments(source, 0)
    assert own == []
    assert own_segments(source, 1) == (first + 1, [first])
    assert own_segments(source, 2) == (first + 2, [first, first + 1])
    assert own_segments(source, 3)[1] == []  # a new rollout


def test_hidden_contexts_have_their_chance() -> None:
    always = segments(hide_context_probability=1.0)
    scored = always.next(STUDENT, CPU, Draws.of_host(torch.Generator().manual_seed(3)))
    assert not scored.view.is_valid[:, :-1].any()
    assert scored.view.is_valid[:, -1].all()


def test_the_clips_are_named() -> None:
    scored = segments().next(STUDENT, CPU, Draws.of_host(torch.Generator().manual_seed(0)))
    assert set(scored.clip_ids) <= set(CLIPS.clip_ids)
    assert len(scored.clip_ids) == 2
