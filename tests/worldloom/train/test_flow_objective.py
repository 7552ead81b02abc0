import pytest
import torch
from tiny import CONFIG, tiny_clips, tiny_transformer

from worldloom.diffusion.config import ErrorBufferConfig
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.train.clip_context import SegmentedClips, segment_start
from worldloom.train.flow_config import SelfCorrectionConfig
from worldloom.train.flow_objective import (
    FlowObjective,
    FlowObjectiveConfig,
    Seen,
    predict_velocity,
)
from worldloom.train.trainer import step_generator

SOURCES = ("none", "buffer", "resampled", "rollout")
ALWAYS = ErrorBufferConfig(warmup_steps=0, probability=1.0, memory_probability=1.0)
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


@pytest.mark.slow
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


def test_held_out_loss_is_the_same_twice():
    built = objective()
    assert built.evaluate() == built.evaluate()


def of_source(source, **values):
    correction = SelfCorrectionConfig(source=source, rollout_clips=1, rollout_every_steps=2)
    return objective(**({"error_buffer": ALWAYS, "self_correction": correction} | values))


def trained(built, steps):
    optimizer = torch.optim.AdamW(built.module.parameters(), lr=1e-3)
    losses = []
    for step in steps:
        loss, _ = built.loss(step, step_generator(0, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("source", SOURCES[2:])
def test_every_source_sees_the_same_clips_noise_and_levels(source):
    batches = [of_source(s).draw(5, step_generator(0, 5)) for s in ("none", source)]
    assert torch.equal(batches[0].sigma, batches[1].sigma)
    assert torch.equal(batches[0].noise, batches[1].noise)
    places = slice(1, None) if source == "rollout" else slice(None)  # whose clips are its own
    assert torch.equal(batches[0].rows[places], batches[1].rows[places])


@pytest.mark.slow
def test_only_the_source_none_conditions_on_clean_latents():
    for source in SOURCES:
        built = of_source(source)
        trained(built, range(2))
        batch, generator = built.draw(2, step_generator(0, 2)), step_generator(0, 99)
        seen = built._seen(batch, batch.clips, batch.noise, 2, generator)
        is_clean = torch.equal(seen.past, batch.clips.latents)
        assert is_clean == (source == "none"), source
        assert (seen.memory is None) == (source == "none"), source


def test_what_is_compiled_as_a_whole_sees_two_contexts_from_the_first_step_on():
    """Or the run would be compiled again at its first residual."""
    for compilation, is_two in (("default", True), ("recorded", True), ("blocks", False)):
        built = objective(compilation=compilation)
        batch = built.draw(0, step_generator(0, 0))
        seen = built._seen(batch, batch.clips, batch.noise, 0, step_generator(0, 99))
        assert torch.equal(seen.past, batch.clips.latents)
        assert (seen.memory is not None) == is_two
        if seen.memory is not None:
            assert torch.equal(seen.memory, seen.past)
            assert seen.memory is not seen.past  # or a graph would hold on to their being one


def test_a_resampled_context_is_what_the_model_takes_each_latent_for():
    """A model that answers noise - x0 itself leaves nothing to correct; another one does."""
    built = of_source("resampled")
    batch = built.draw(0, step_generator(0, 0))
    x0 = built._segments(batch.clips)
    perfect = batch.noise - x0
    level = torch.full((len(x0),), 0.6)
    built._plainly = lambda *_: perfect
    off = built._own_residuals(batch.clips, x0, batch.noise, level)
    assert off.shape == batch.clips.latents.shape
    torch.testing.assert_close(off, torch.zeros_like(off), atol=1e-5, rtol=0)
    built._plainly = lambda *_: perfect + 1.0
    off = built._own_residuals(batch.clips, x0, batch.noise, level)
    torch.testing.assert_close(off[:, 1:], torch.full_like(off[:, 1:], -0.6))
    assert not off[:, 0].any()  # the start image is given


def test_own_rollouts_stay_for_some_steps_and_then_are_made_anew():
    built = of_source("rollout")
    made = []
    for step in range(4):
        trained(built, [step])
        made.append(built.own_rollouts.latents.clone())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])
    assert torch.equal(made[2], made[3])


def test_a_run_on_own_rollouts_goes_on_as_if_it_had_not_been_stopped():
    whole = trained(of_source("rollout"), range(1))
    built = of_source("rollout")
    assert trained(built, range(1)) == whole
    other = of_source("rollout")
    other.module.load_state_dict(built.module.state_dict())
    other.load_state_tensors(built.state_tensors())
    a, b = (float(x.loss(1, step_generator(0, 1))[0].detach()) for x in (built, other))
    assert a == b


def test_a_corrupted_context_is_judged_where_asked_and_costs_loss():
    built = objective(evaluates_corrupted=True)
    values = built.evaluate()
    assert values["held_out_loss"] == objective().evaluate()["held_out_loss"]
    assert values["held_out_loss_corrupted"] != values["held_out_loss"]


def test_kept_or_recomputed_activations_give_one_gradient():
    gradients = []
    for again in (False, True):
        built = objective(checkpoint_activations=again)
        built.loss(0, step_generator(0, 0))[0].backward()
        gradients.append([p.grad.clone() for p in built.module.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)


def test_it_names_the_clips_of_a_batch_and_counts_its_operations():
    built = objective()
    batch = built.draw(0, step_generator(0, 0))
    assert built.names(batch) == [f"clip-{row}" for row in batch.rows.tolist()]
    assert built.samples_per_step == 2 * built.train.num_segments
    assert objective(batch_clips=4).flops_per_step == 2 * built.flops_per_step > 0


def test_other_clips_or_chances_are_another_run_and_speed_is_not():
    plain = objective().settings()
    assert objective(compilation="default", checkpoint_activations=True).settings() == plain
    assert objective(no_past_probability=0.9).settings() != plain
    longer = objective()
    longer.train.clip_ids.append("another")
    assert longer.settings() != plain
