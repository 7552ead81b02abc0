import torch

from worldloom.diffusion.config import ErrorBufferConfig
from worldloom.diffusion.error_buffer import ErrorBuffer

SHAPE = (2, 3, 3)


def buffer(**values):
    config = ErrorBufferConfig(**{"num_buckets": 4, "bucket_size": 3, "warmup_steps": 2} | values)
    return ErrorBuffer(config, SHAPE)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def latents():
    return torch.zeros(8, 5, *SHAPE)


def test_nothing_is_injected_while_empty_or_warming_up():
    empty = buffer()
    assert not empty.disturb(latents(), 10, generator()).any()
    empty.push(torch.ones(4, *SHAPE), torch.full((4,), 0.5), generator())
    assert not empty.disturb(latents(), 1, generator()).any()
    assert empty.disturb(latents(), 2, generator()).any()


def test_residuals_go_to_the_bucket_of_their_level_and_a_full_bucket_stays_that_size():
    filled = buffer()
    filled.push(torch.ones(9, *SHAPE), torch.full((9,), 0.3), generator())
    assert filled.counts.tolist() == [0, 9, 0, 0]
    assert filled.residuals[1].all()
    assert not filled.residuals[[0, 2, 3]].any()


def test_a_reservoir_keeps_every_residual_with_the_same_chance():
    kept = torch.zeros(12)
    for seed in range(400):
        small = buffer()
        values = torch.arange(1.0, 13.0)[:, None, None, None].expand(-1, *SHAPE)
        small.push(values, torch.zeros(12), generator(seed))
        kept[small.residuals[0, :, 0, 0, 0].long() - 1] += 1
    expected = 400 * 3 / 12
    assert (kept - expected).abs().max() < 0.35 * expected


def test_only_a_share_of_the_samples_is_disturbed_and_within_the_strength():
    filled = buffer(probability=0.5, max_strength=0.5)
    filled.push(torch.ones(3, *SHAPE), torch.zeros(3), generator())
    many = torch.zeros(400, 2, *SHAPE)
    disturbed = filled.disturb(many, 5, generator())
    touched = disturbed.flatten(1).any(dim=1).float().mean()
    assert 0.4 < float(touched) < 0.6
    assert 0.4 < float(disturbed.max()) <= 0.5


def test_the_state_comes_back():
    one, other = buffer(), buffer()
    one.push(torch.randn(5, *SHAPE), torch.rand(5), generator())
    other.load_state_tensors(one.state_tensors())
    torch.testing.assert_close(
        one.disturb(latents(), 9, generator(3)), other.disturb(latents(), 9, generator(3))
    )
