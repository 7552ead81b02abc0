import torch
from tiny import CONFIG, INTRINSICS, tiny_clips, tiny_transformer

from worldloom.distill.draws import Draws
from worldloom.distill.self_forcing import (
    generate_with_gradient,
    roll_out,
    velocity_of,
    view_segment,
)
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips, segment_start
from worldloom.train.flow_objective import Seen, predict_velocity

CLIPS = SegmentedClips(tiny_clips(), CONFIG, RetrievalConfig())
CONDITIONER = Conditioner(CONFIG, INTRINSICS)
SAMPLER = SamplerConfig()
SIZE = CONFIG.segment_latents


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch():
    return CLIPS.batch(torch.arange(3))


def no_clip_hidden():
    return torch.zeros(3, dtype=torch.bool)


def test_a_rollout_replaces_its_segments_and_nothing_else():
    made = roll_out(tiny_transformer(), CONDITIONER, batch(), range(1, 2), SAMPLER, generator())
    recorded = batch().latents
    start = segment_start(1, CONFIG)
    assert torch.equal(made[:, :start], recorded[:, :start])
    assert torch.equal(made[:, start + SIZE :], recorded[:, start + SIZE :])
    assert not torch.allclose(made[:, start : start + SIZE], recorded[:, start : start + SIZE])


def test_a_view_predicts_what_training_predicts():
    transformer = tiny_transformer().eval()
    given = batch()
    noisy = torch.randn(3, 3, 4, SIZE, 4, 4, generator=generator())
    sigma = torch.rand(3, 3, generator=generator())
    with torch.no_grad():
        trained = predict_velocity(
            transformer,
            CONDITIONER,
            given,
            Seen(given.latents),
            noisy.flatten(0, 1),
            sigma.flatten(),
        ).unflatten(0, (3, 3))
        for segment in range(3):
            view = view_segment(given, given.latents, segment, SIZE, no_clip_hidden())
            seen = velocity_of(transformer, CONDITIONER, view)(noisy[:, segment], sigma[:, segment])
            torch.testing.assert_close(seen, trained[:, segment], atol=1e-5, rtol=1e-5)


def test_later_segments_are_generated_from_earlier_generated_ones():
    transformer = tiny_transformer()
    both = roll_out(transformer, CONDITIONER, batch(), range(2), SAMPLER, generator())
    second_only = roll_out(transformer, CONDITIONER, batch(), range(1, 2), SAMPLER, generator())
    start = segment_start(1, CONFIG)
    assert not torch.allclose(both[:, start : start + SIZE], second_only[:, start : start + SIZE])


def test_a_hidden_context_leaves_the_latest_latent():
    view = view_segment(batch(), batch().latents, 2, SIZE, torch.tensor([True, False, True]))
    assert view.is_valid[0].tolist() == [False] * (CONFIG.num_context_latents - 1) + [True]
    assert view.is_valid[1].sum() > 1


def test_only_the_exit_step_carries_a_gradient():
    calls = []
    weight = torch.ones((), requires_grad=True)

    def velocity(noisy, sigma):
        calls.append(torch.is_grad_enabled())
        return noisy * weight

    lengths = set()
    for seed in range(12):
        calls.clear()
        made = generate_with_gradient(
            velocity,
            (2, 4, SIZE, 4, 4),
            SAMPLER,
            Draws.of_host(generator(seed)),
            torch.device("cpu"),
        )
        assert calls == [False] * (len(calls) - 1) + [True]
        assert made.requires_grad
        lengths.add(len(calls))
    assert lengths == {1, 2, 3}
