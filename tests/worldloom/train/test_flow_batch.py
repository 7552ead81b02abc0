"""A step's draw: what is hidden, and whose part of the batch is whose."""

from __future__ import annotations

import torch
from tiny import CONFIG, tiny_clips

from worldloom.memory.retrieval import RetrievalConfig
from worldloom.train import flow_batch
from worldloom.train.clip_context import SegmentedClips, segment_start
from worldloom.train.flow_batch import FlowBatch, draw_batch
from worldloom.train.flow_config import FlowObjectiveConfig
from worldloom.train.run_control import step_generator

SLOTS = CONFIG.num_memory_latents
CLIPS = SegmentedClips(tiny_clips(), CONFIG, RetrievalConfig())


def drawn(seed: int = 0, **values: object) -> FlowBatch:
    config = FlowObjectiveConfig.model_validate({"batch_clips": 4} | values)
    return draw_batch(config, CONFIG, CLIPS, step_generator(seed, 0))


def test_hidden_memory_is_hidden_and_the_latest_latent_is_always_seen() -> None:
    batch = drawn(no_memory_probability=1.0, random_memory_probability=0.0).clips
    assert not batch.context_valid[..., :SLOTS].any()
    batch = drawn(no_past_probability=1.0).clips
    assert not batch.context_valid[..., SLOTS:-1].any()
    assert batch.context_valid[..., -1].all()


def test_random_memory_stays_older_than_the_past() -> None:
    batch = drawn(no_memory_probability=0.0, random_memory_probability=1.0).clips
    for segment in range(CLIPS.num_segments):
        first = max(0, segment_start(segment, CONFIG) - CONFIG.num_past_latents)
        valid = batch.context_valid[:, segment, :SLOTS]
        assert (batch.context_indices[:, segment, :SLOTS][valid] < max(first, 1)).all()


def test_processes_draw_one_batch_and_take_their_own_rows(monkeypatch) -> None:
    whole = drawn()
    assert whole.noise is not None
    for rank in range(2):
        monkeypatch.setattr(flow_batch, "own_rows", lambda n, r=rank: slice(r * 2, r * 2 + 2))
        part = drawn()
        assert torch.equal(part.rows, whole.rows)
        assert torch.equal(part.sigma, whole.sigma)
        assert torch.equal(part.clips.latents, whole.clips.latents[part.own_rows])
        assert torch.equal(part.clips.context_valid, whole.clips.context_valid[part.own_rows])
        assert part.noise is not None
        assert torch.equal(part.noise, whole.noise[part.own_segments])


def test_a_batch_follows_from_its_generator_alone() -> None:
    assert torch.equal(drawn().rows, drawn().rows)
    assert not torch.equal(drawn().sigma, drawn(seed=1).sigma)


def test_noise_may_be_left_to_the_device() -> None:
    batch = drawn(draws_noise_on_device=True)
    assert batch.noise is None
    assert len(batch.sigma) == 4 * CLIPS.num_segments
