import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from tiny import CONFIG, FRAME_SIZE, INTRINSICS, tiny_clips, tiny_model, tiny_transformer

from worldloom.actions import Actions
from worldloom.camera import integrate_poses
from worldloom.data.latents import LatentClips
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.attention import BlockContext
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession
from worldloom.train.clip_context import (
    SegmentedClips,
    commit_clips,
    commit_latents,
    commit_versions,
    gather_latents,
    noisy_conditions,
    segment_context,
    segment_start,
    segments_of,
)

REACHES = {
    "latent": CONFIG,
    "segment": CONFIG.model_copy(update={"reach": "segment"}),
    "window": CONFIG.model_copy(update={"reach": "window", "accepts_inexact_replay": True}),
}
TOKENS, SIZE = CONFIG.tokens_per_latent_frame, CONFIG.segment_latents
IMAGE = np.random.default_rng(0).integers(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)
LONG = 12  # segments, so that slots of memory change


class RecordedSession(WorldSession):
    """A session that keeps what lay in its slots when each segment was denoised."""

    def _denoise(self, poses, actions):
        if not hasattr(self, "seen"):
            self.seen = []
        blocks = [BlockContext(b.keys.clone(), b.values.clone()) for b in self.slots.blocks]
        self.seen.append((list(self.slots.latents), blocks))
        return super()._denoise(poses, actions)


@cache
def model_of(reach):
    transformer = tiny_transformer().eval()
    transformer.config = REACHES[reach]
    return dataclasses.replace(
        tiny_model(), transformer=transformer, conditioner=Conditioner(REACHES[reach], INTRINSICS)
    )


def given_walk(num_segments):
    """Poses and actions of a walk that turns and goes back; poses are exact in float32."""
    rng = np.random.default_rng(3)
    frames = 4 * SIZE * num_segments
    keyboard = np.zeros((frames, 6), np.float32)
    mouse = np.zeros((frames, 2), np.float32)
    keyboard[:, 0] = 1
    mouse[:, 1] = np.repeat(rng.choice([-0.6, -0.2, 0.0, 0.4], num_segments), 4 * SIZE)
    kinematics = tiny_model().kinematics
    poses = integrate_poses(np.eye(4), keyboard.astype(float), mouse.astype(float), kinematics)
    return Actions(keyboard, mouse), poses.astype(np.float32).astype(np.float64)


@cache
def walked(reach, num_segments):
    """A session along the walk, and the same walk as a clip of one row."""
    actions, poses = given_walk(num_segments)
    session = RecordedSession(model_of(reach), image=IMAGE, prompt="a room", seed=0)
    for start in range(0, len(actions), session.segment_frames):
        at = slice(start, start + session.segment_frames)
        session.generate_segment(actions[at], poses[at])
    state = session.snapshot()
    return session, LatentClips(
        latents=state.latents[None],
        poses=torch.from_numpy(np.concatenate([np.eye(4)[None], poses])).float()[None],
        keyboard=torch.from_numpy(state.keyboard)[None],
        mouse=torch.from_numpy(state.mouse)[None],
        prompts=["a room"],
        clip_ids=["walked"],
        sources=["session"],
        intrinsics=INTRINSICS,
        frame_size=FRAME_SIZE,
    )


@cache
def batch_of(reach, num_clips=3):
    clips = SegmentedClips(tiny_clips(num_clips), REACHES[reach], RetrievalConfig())
    return clips.batch(torch.arange(num_clips))


def test_clips_are_cut_into_segments_after_the_start_image():
    clips = SegmentedClips(tiny_clips(2), CONFIG, RetrievalConfig())
    assert (len(clips), clips.num_segments, clips.num_latents) == (2, 3, 10)
    assert [segment_start(index, CONFIG) for index in range(3)] == [1, 4, 7]
    cut = segments_of(torch.arange(20.0).view(2, 10), SIZE)
    assert cut.tolist() == [
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 9],
        *[[r, r + 1, r + 2] for r in (11, 14, 17)],
    ]
    longer = SegmentedClips(
        dataclasses.replace(
            tiny_clips(1), latents=tiny_clips(1).latents[:, :9], poses=tiny_clips(1).poses[:, :33]
        ),
        CONFIG,
        RetrievalConfig(),
    )
    assert longer.num_latents == 7  # a rest that makes no segment is left out


def test_a_clips_plan_is_what_a_session_has_in_its_slots():
    session, clip = walked("latent", LONG)
    clips = SegmentedClips(clip, CONFIG, RetrievalConfig())
    num_memory = CONFIG.num_memory_latents
    memories = set()
    for segment, (latents, _) in enumerate(session.seen):
        valid = clips.context_valid[0, segment].tolist()
        planned = [
            latent if is_there else None
            for latent, is_there in zip(
                clips.context_indices[0, segment].tolist(), valid, strict=True
            )
        ]
        assert planned[:num_memory] == latents[:num_memory]  # slot by slot
        ring = sorted(latent for latent in latents[num_memory:] if latent is not None)
        past = [latent for latent in planned[num_memory:] if latent is not None]
        assert past == ring  # the session's past is a ring, a clip's is in order
        memories.add(tuple(latents[:num_memory]))
    assert len(memories) >= 4  # it did change along the walk
    assert len(session.seen) == clips.num_segments == LONG


# A session keeps the keys of four segments; of older ones window reach recomputes others.
@pytest.mark.parametrize(("reach", "num_segments"), [("latent", 6), ("segment", 6), ("window", 4)])
@torch.no_grad()
def test_clips_are_committed_as_a_session_commits_segment_by_segment(reach, num_segments):
    session, clip = walked(reach, num_segments)
    batch = SegmentedClips(clip, REACHES[reach], RetrievalConfig()).batch(torch.tensor([0]))
    model = model_of(reach)
    committed = commit_clips(model.transformer, model.conditioner, batch, batch.latents)
    num_seen = 0
    for latents, blocks in session.seen:
        for slot, latent in enumerate(latents):
            if latent is None:
                continue
            at = slice(slot * TOKENS, (slot + 1) * TOKENS)
            for theirs, ours in zip(blocks, committed, strict=True):
                for name in ("keys", "values"):
                    found = getattr(ours, name)[0, latent]
                    expected = getattr(theirs, name)[0, at]
                    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
            num_seen += 1
    assert num_seen >= 3 * num_segments


@torch.no_grad()
def test_reaches_differ_from_one_another():
    committed = {
        reach: commit_clips(
            model_of(reach).transformer,
            model_of(reach).conditioner,
            batch_of(reach),
            batch_of(reach).latents,
        )
        for reach in REACHES
    }
    pairs = [("latent", "segment"), ("segment", "window"), ("latent", "window")]
    for one, other in pairs:
        gap = (committed[one][1].keys - committed[other][1].keys).abs().amax(dim=(0, 2, 3, 4))
        assert gap[0] < 1e-6  # the start image is alone in every case
        assert (gap[4:] > 1e-3).all()
        first = (committed[one][0].keys - committed[other][0].keys).abs().max()
        assert first < 1e-5  # the first block has seen nothing yet


@pytest.mark.parametrize("reach", REACHES)
@torch.no_grad()
def test_a_clips_beginning_is_committed_alike_whatever_follows(reach):
    model, batch = model_of(reach), batch_of(reach)
    whole = commit_clips(model.transformer, model.conditioner, batch, batch.latents)
    for length in (1, 7):
        some = commit_clips(model.transformer, model.conditioner, batch, batch.latents[:, :length])
        for block, other in zip(some, whole, strict=True):
            assert block.keys.shape[1] == length
            torch.testing.assert_close(block.keys, other.keys[:, :length], atol=1e-5, rtol=0)
            torch.testing.assert_close(block.values, other.values[:, :length], atol=1e-5, rtol=0)


@pytest.mark.parametrize("reach", REACHES)
@torch.no_grad()
def test_versions_that_are_committed_together_come_out_as_each_alone(reach):
    model, batch = model_of(reach), batch_of(reach)
    versions = [batch.latents, batch.latents.flip(0) + 0.5]
    together = commit_versions(model.transformer, model.conditioner, batch, versions)
    for latents, found in zip(versions, together, strict=True):
        alone = commit_clips(model.transformer, model.conditioner, batch, latents)
        for block, other in zip(found, alone, strict=True):
            assert torch.equal(block.keys, other.keys)
            assert torch.equal(block.values, other.values)
    assert (together[0][1].keys - together[1][1].keys).abs().max() > 1e-3


@torch.no_grad()
def test_gathered_latents_are_those_that_are_committed_alone():
    """With latent reach: chosen ones of all equal those chosen first and committed alone."""
    model, batch = model_of("latent"), batch_of("latent")
    chosen = torch.tensor([[0, 5, 9], [3, 3, 1], [8, 2, 7]])
    every = commit_clips(model.transformer, model.conditioner, batch, batch.latents)
    gathered = gather_latents(every, chosen)
    alone = commit_latents(model.transformer, model.conditioner, batch, batch.latents, chosen)
    for one, other in zip(gathered, alone, strict=True):
        assert one.keys.shape == (3, 3 * TOKENS, CONFIG.num_heads, CONFIG.head_dim)
        torch.testing.assert_close(one.keys, other.keys, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=0)
    # Of several segments at once batch axes are joined, clip by clip.
    by_segment = gather_latents(every, batch.context_indices)
    assert by_segment[0].keys.shape[0] == 3 * 3
    expected = every[0].keys[1, batch.context_indices[1, 2]].flatten(0, 1)
    assert torch.equal(by_segment[0].keys[5], expected)


@torch.no_grad()
def test_every_segment_of_a_clip_is_seen_as_a_session_sees_it():
    """Anchors, ages, validity and conditions of all segments at once equal those of one.

    Coordinates up to rounding: a processor may multiply many poses in another order than one.
    """
    session, clip = walked("latent", LONG)
    batch = SegmentedClips(clip, CONFIG, RetrievalConfig()).batch(torch.tensor([0]))
    conditioner = model_of("latent").conditioner
    context, anchor = segment_context(conditioner, batch, LONG)
    told = noisy_conditions(conditioner, batch, anchor, LONG)
    for segment in (0, 1, LONG - 1):
        start = segment_start(segment, CONFIG)
        own = slice(start, start + SIZE)
        assert torch.equal(anchor[segment], batch.poses[0, start - 1])
        alone = conditioner.noisy(
            batch.poses[:, own],
            batch.poses[:, start - 1],
            (batch.keyboard[:, own], batch.mouse[:, own]),
            batch.prompt,
        )
        for name in ("rays", "coordinates", "keyboard", "mouse", "prompt"):
            all_at_once = getattr(told, name)[segment : segment + 1]
            torch.testing.assert_close(all_at_once, getattr(alone, name), atol=1e-6, rtol=0)
        chosen = batch.context_indices[:, segment]
        valid = batch.context_valid[:, segment]
        one = conditioner.context(
            None, batch.poses[0, chosen], anchor[segment : segment + 1], start - chosen, valid
        )
        torch.testing.assert_close(
            context.coordinates[segment], one.coordinates[0], atol=1e-6, rtol=0
        )
        assert torch.equal(context.is_valid[segment], one.is_valid[0])
    assert session.segment_index == LONG
