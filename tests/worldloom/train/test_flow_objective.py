import torch
from tiny import CONFIG, tiny_clips, tiny_transformer

from worldloom.diffusion.config import ErrorBufferConfig
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.train.clip_context import SegmentedClips, segment_start
from worldloom.train.flow_objective import (
    FlowObjective,
    FlowObjectiveConfig,
    Seen,
    predict_velocity,
)
from worldloom.train.trainer import step_generator

SLOTS = CONFIG.num_memory_latents


def objective(**values):
    return FlowObjective(
        FlowObjectiveConfig(**({"batch_clips": 2} | values)),
        tiny_transformer(),
        tiny_clips(),
        tiny_clips(seed=9),
    )


def test_a_segment_sees_its_past_and_older_latents_once_each():
    clips = SegmentedClips(tiny_clips(num_segments=4), CONFIG, RetrievalConfig())
    for segment in range(clips.num_segments):
        start = segment_start(segment, CONFIG)
        indices = clips.context_indices[0, segment]
        valid = clips.context_valid[0, segment]
        seen = indices[valid].tolist()
        assert len(set(seen)) == len(seen)
        assert max(seen) == start - 1  # the latest is always seen, the future never
        expected = min(start, CONFIG.num_past_latents)
        assert sorted(indices[SLOTS:][valid[SLOTS:]].tolist()) == list(
            range(start - expected, start)
        )
        if start > CONFIG.num_past_latents:
            assert 0 in indices[:SLOTS][valid[:SLOTS]].tolist()  # the sink


def test_a_sessions_velocity_is_the_trainings_velocity():
    """The same segment, once in a batch of clips and once alone, gets the same prediction."""
    clips = SegmentedClips(tiny_clips(), CONFIG, RetrievalConfig())
    built = objective()
    transformer, conditioner = built.transformer.eval(), built.conditioner
    noise = torch.randn(3 * clips.num_segments, 4, CONFIG.segment_latents, 4, 4)
    sigma = torch.rand(len(noise))
    with torch.no_grad():
        both = clips.batch(torch.tensor([0, 1, 2]))
        together = predict_velocity(
            transformer, conditioner, both, Seen(both.latents), noise, sigma
        )
        one = clips.batch(torch.tensor([1]))
        rows = slice(clips.num_segments, 2 * clips.num_segments)
        alone = predict_velocity(
            transformer, conditioner, one, Seen(one.latents), noise[rows], sigma[rows]
        )
    torch.testing.assert_close(together[rows], alone, atol=1e-5, rtol=1e-5)


def test_later_latents_do_not_reach_earlier_segments():
    built = objective()
    clips = SegmentedClips(tiny_clips(), CONFIG, RetrievalConfig())
    batch = clips.batch(torch.tensor([0]))
    changed = batch.latents.clone()
    changed[:, segment_start(1, CONFIG) :] += 1.0
    noise = torch.randn(clips.num_segments, 4, CONFIG.segment_latents, 4, 4)
    with torch.no_grad():
        a, b = (
            predict_velocity(
                built.transformer, built.conditioner, batch, Seen(x), noise, torch.full((3,), 0.5)
            )
            for x in (batch.latents, changed)
        )
    torch.testing.assert_close(a[:2], b[:2])
    assert not torch.allclose(a[2], b[2], atol=1e-4)


def test_every_parameter_learns():
    built = objective()
    loss, _ = built.loss(0, step_generator(0, 0))
    loss.backward()
    silent = [n for n, p in built.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_the_loss_follows_from_seed_and_step():
    a, b, c = (
        float(objective().loss(0, step_generator(seed, 0))[0].detach()) for seed in (0, 0, 1)
    )
    assert a == b != c


def test_training_lowers_the_loss_on_what_it_sees():
    # Clips that are one constant latent can be learnt in a few steps; noise could not.
    built = objective(error_buffer=ErrorBufferConfig(probability=0.0))
    built.train.latents = torch.full_like(built.train.latents, 0.7)
    optimizer = torch.optim.AdamW(built.module.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        loss, _ = built.loss(step, step_generator(0, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])


def test_residuals_of_its_own_estimates_fill_the_buffer():
    built = objective()
    built.loss(0, step_generator(0, 0))
    assert int(built.error_buffer.counts.sum()) == 2 * 3
    assert built.error_buffer.residuals.any()


def test_residuals_of_undisturbed_clips_are_kept_by_their_own_chance():
    untouched = {"clean_probability": 1.0, "clean_push_probability": 0.0}
    built = objective(error_buffer=ErrorBufferConfig(**untouched))
    built.loss(0, step_generator(0, 0))
    assert int(built.error_buffer.counts.sum()) == 0


def test_hidden_memory_is_hidden_and_the_latest_latent_is_always_seen():
    built = objective(no_memory_probability=1.0, random_memory_probability=0.0)
    batch = built._hide_context(built.train.batch(torch.arange(3)), step_generator(0, 0))
    assert not batch.context_valid[..., :SLOTS].any()
    built = objective(no_past_probability=1.0)
    batch = built._hide_context(built.train.batch(torch.arange(3)), step_generator(0, 0))
    assert not batch.context_valid[..., SLOTS:-1].any()
    assert batch.context_valid[..., -1].all()


def test_random_memory_stays_older_than_the_past():
    built = objective(no_memory_probability=0.0, random_memory_probability=1.0)
    original = built.train.batch(torch.arange(3))
    batch = built._hide_context(original, step_generator(0, 0))
    for segment in range(built.train.num_segments):
        first = max(0, segment_start(segment, CONFIG) - CONFIG.num_past_latents)
        valid = batch.context_valid[:, segment, :SLOTS]
        assert (batch.context_indices[:, segment, :SLOTS][valid] < max(first, 1)).all()


def test_held_out_loss_is_the_same_twice():
    built = objective()
    assert built.evaluate() == built.evaluate()
