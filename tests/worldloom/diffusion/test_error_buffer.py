"""Reservoirs, strengths and roles of the error buffer, by counting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worldloom.diffusion.config import ErrorBufferConfig
from worldloom.diffusion.error_buffer import ErrorBuffer
from worldloom.errors import TrainingError

SHAPE = (2, 3, 3)


def buffer(total_steps: int | None = None, **values: object) -> ErrorBuffer:
    config = ErrorBufferConfig(**{"num_buckets": 4, "bucket_size": 3, "warmup_steps": 2} | values)
    return ErrorBuffer(config, SHAPE, total_steps=total_steps)


def filled(**values: object) -> ErrorBuffer:
    """A buffer whose only residuals are ones, so that what is added is the strength."""
    made = buffer(**values)
    made.push(torch.ones(3, *SHAPE), torch.zeros(3), generator())
    return made


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(count: int = 8) -> Tensor:
    return torch.zeros(count, 5, *SHAPE)


def strengths(disturbed: Tensor) -> Tensor:
    """What was added to each sample."""
    return disturbed.flatten(1).amax(dim=1)


def test_nothing_is_injected_while_empty_or_warming_up() -> None:
    empty = buffer()
    assert not empty.disturb(latents(), 10, generator()).any()
    empty.push(torch.ones(4, *SHAPE), torch.full((4,), 0.5), generator())
    for role in ("past", "memory"):
        assert not empty.disturb(latents(), 1, generator(), role).any()
        assert empty.disturb(latents(), 2, generator(), role).any()


def test_a_warm_up_may_be_a_share_of_the_run_and_the_later_counts() -> None:
    assert buffer(total_steps=1000, warmup_fraction=0.01).first_step == 10
    assert buffer(total_steps=150, warmup_fraction=0.01).first_step == 2
    assert buffer(total_steps=1000, warmup_fraction=0.01, warmup_steps=50).first_step == 50
    late = buffer(total_steps=1000, warmup_fraction=0.01)
    late.push(torch.ones(4, *SHAPE), torch.full((4,), 0.5), generator())
    assert not late.disturb(latents(), 9, generator()).any()
    assert late.disturb(latents(), 10, generator()).any()


def test_a_share_of_an_unknown_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup_fraction=0\.01: expected total_steps"):
        buffer(warmup_fraction=0.01)


def test_residuals_go_to_the_bucket_of_their_level_and_a_full_bucket_stays_that_size() -> None:
    made = buffer()
    made.push(torch.ones(9, *SHAPE), torch.full((9,), 0.3), generator())
    assert made.counts.tolist() == [0, 9, 0, 0]
    assert made.residuals[1].all()
    assert not made.residuals[[0, 2, 3]].any()


def test_the_buckets_cut_the_levels_evenly_and_level_1_belongs_to_the_last() -> None:
    made = buffer(bucket_size=8)
    levels = torch.tensor([0.0, 0.2499, 0.25, 0.4999, 0.5, 0.7499, 0.75, 1.0])
    values = torch.arange(1.0, 9.0)[:, None, None, None].expand(-1, *SHAPE)
    made.push(values, levels, generator())
    assert made.counts.tolist() == [2, 2, 2, 2]
    kept = made.residuals[:, :2, 0, 0, 0]
    assert kept.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_a_reservoir_keeps_every_residual_with_the_same_chance() -> None:
    kept = torch.zeros(12)
    for seed in range(400):
        small = buffer()
        values = torch.arange(1.0, 13.0)[:, None, None, None].expand(-1, *SHAPE)
        small.push(values, torch.zeros(12), generator(seed))
        kept[small.residuals[0, :, 0, 0, 0].long() - 1] += 1
    expected = 400 * 3 / 12
    assert (kept - expected).abs().max() < 0.35 * expected
    # Chi-square of 12 cells: 31.3 is its 99.9 % quantile at 11 degrees of freedom.
    assert float(((kept - expected).square() / expected).sum()) < 31.3


def test_only_a_share_of_the_samples_is_disturbed_and_within_the_strength() -> None:
    made = filled(probability=0.5, max_strength=0.5)
    disturbed = made.disturb(latents(400), 5, generator())
    touched = disturbed.flatten(1).any(dim=1).float().mean()
    assert 0.4 < float(touched) < 0.6
    assert 0.4 < float(disturbed.max()) <= 0.5


def test_strengths_are_uniform_from_nothing_to_the_most() -> None:
    made = filled(probability=1.0, max_strength=2.0)
    drawn = strengths(made.disturb(latents(4000), 5, generator()))
    counts = torch.histc(drawn, 8, 0, 2)
    assert (counts - 500).abs().max() < 5 * (4000 * 7 / 64) ** 0.5
    assert float(drawn.max()) <= 2.0


def test_each_role_has_its_own_chance_and_strength() -> None:
    made = filled(
        probability=0.2, max_strength=0.5, memory_probability=0.8, memory_max_strength=3.0
    )
    past = strengths(made.disturb(latents(4000), 5, generator(), "past"))
    memory = strengths(made.disturb(latents(4000), 5, generator(1), "memory"))
    assert float((past > 0).float().mean()) == pytest.approx(0.2, abs=0.03)
    assert float((memory > 0).float().mean()) == pytest.approx(0.8, abs=0.03)
    assert 0.45 < float(past.max()) <= 0.5
    assert 2.8 < float(memory.max()) <= 3.0


def test_past_and_memory_are_disturbed_independently() -> None:
    made = filled(probability=0.5, memory_probability=0.5)
    draws = generator()
    past = strengths(made.disturb(latents(4000), 5, draws, "past"))
    memory = strengths(made.disturb(latents(4000), 5, draws, "memory"))
    both = ((past > 0) & (memory > 0)).float().mean()
    assert float(both) == pytest.approx(0.25, abs=0.03)
    correlation = torch.corrcoef(torch.stack([past, memory]))[0, 1]
    assert abs(float(correlation)) < 0.06


def test_every_residual_of_the_buffer_is_injected_equally_often() -> None:
    # Uneven buckets: uniform over the residuals, not over the buckets.
    made = buffer(probability=1.0)
    values = 2.0 ** torch.arange(4)[:, None, None, None].expand(-1, *SHAPE)
    made.push(values, torch.tensor([0.1, 0.9, 0.9, 0.9]), generator())
    disturbed = made.disturb(torch.zeros(3000, 2, *SHAPE), 5, generator())[..., 0, 0, 0]
    ratio = (disturbed[:, 1] / disturbed[:, 0]).log2().round()
    counts = torch.stack([(ratio == gap).sum() for gap in range(-3, 4)])
    expected = torch.tensor([1.0, 2, 3, 4, 3, 2, 1]) * 3000 / 16
    assert float(((counts - expected).square() / expected).sum()) < 22.5  # 99.9 %, 6 degrees


def test_every_latent_gets_its_own_residual_and_each_sample_one_strength() -> None:
    made = buffer(bucket_size=64, probability=1.0)
    made.push(torch.randn(64, *SHAPE, generator=generator()), torch.zeros(64), generator())
    [sample] = made.disturb(torch.zeros(1, 5, *SHAPE), 5, generator(3))
    pool = made.residuals[0].flatten(1)
    found = sample.flatten(1)
    scale = found.norm(dim=1, keepdim=True)
    match = ((found / scale) @ (pool / pool.norm(dim=1, keepdim=True)).T).max(dim=1)
    torch.testing.assert_close(match.values, torch.ones(5), atol=1e-5, rtol=0)
    strength = scale[:, 0] / pool[match.indices].norm(dim=1)
    torch.testing.assert_close(strength, strength[:1].expand(5), atol=1e-5, rtol=1e-5)
    assert len(match.indices.unique()) > 1


def test_clean_samples_stay_as_they_are_in_both_roles() -> None:
    made = filled(probability=1.0, memory_probability=1.0, clean_probability=0.5)
    is_clean = made.draw_clean(400, generator(2))
    assert 0.4 < float(is_clean.float().mean()) < 0.6
    for role in ("past", "memory"):
        touched = strengths(made.disturb(latents(400), 5, generator(), role, is_clean)) > 0
        assert torch.equal(touched, ~is_clean)


def test_residuals_of_clean_samples_are_kept_by_their_own_chance() -> None:
    made = buffer(bucket_size=1, clean_push_probability=0.1)
    is_clean = torch.arange(4000) % 2 == 0
    made.push(torch.ones(4000, *SHAPE), torch.zeros(4000), generator(), is_clean)
    assert int(made.counts[0]) == pytest.approx(2000 + 200, abs=5 * (2000 * 0.09) ** 0.5)


@pytest.mark.parametrize("storage_dtype", ["float16", "float32"])
def test_residuals_are_kept_in_the_configured_format(storage_dtype: str) -> None:
    made = buffer(storage_dtype=storage_dtype, probability=1.0)
    residual = torch.randn(1, *SHAPE)
    made.push(residual, torch.zeros(1), generator())
    dtype = getattr(torch, storage_dtype)
    assert made.residuals.dtype == dtype
    assert torch.equal(made.residuals[0, 0], residual[0].to(dtype))
    for latent_dtype in (torch.bfloat16, torch.float32):
        disturbed = made.disturb(latents().to(latent_dtype), 5, generator())
        assert disturbed.dtype == latent_dtype


def test_a_residual_beyond_float16_is_refused() -> None:
    made = buffer(storage_dtype="float16")
    with pytest.raises(TrainingError, match=r"residual of 7e\+04 does not fit into float16"):
        made.push(torch.full((1, *SHAPE), 7e4), torch.zeros(1), generator())
    assert not made.counts.any()


def test_a_resumed_buffer_goes_on_as_the_unbroken_one() -> None:
    one, other = buffer(), buffer()
    draws = generator(7)
    one.push(torch.randn(20, *SHAPE), torch.rand(20), draws)
    state = {name: value.clone() for name, value in one.state_tensors().items()}
    kept = draws.get_state()
    other.load_state_tensors(state)
    more, levels = torch.randn(20, *SHAPE), torch.rand(20)
    outcome = []
    for each in (one, other):
        draws.set_state(kept)
        each.push(more, levels, draws)
        outcome.append(each.disturb(latents(), 9, draws, "memory"))
    assert torch.equal(*outcome)
    assert torch.equal(one.residuals, other.residuals)
    assert torch.equal(one.counts, other.counts)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bucket_size": 4}, r"expected torch.float32 \[4, 4, 2, 3, 3\]"),
        ({"storage_dtype": "float16"}, r"expected torch.float16 \[4, 3, 2, 3, 3\]"),
    ],
)
def test_the_state_of_another_buffer_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        buffer(**values).load_state_tensors(buffer().state_tensors())
    with pytest.raises(TrainingError, match="found nothing"):
        buffer().load_state_tensors({})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_do_not_depend_on_the_device() -> None:
    residuals, levels = torch.randn(20, *SHAPE), torch.rand(20)
    given = torch.randn(8, 5, *SHAPE)
    outcome = []
    for device in ("cpu", "cuda"):
        config = ErrorBufferConfig(num_buckets=4, bucket_size=3, warmup_steps=0)
        made, draws = ErrorBuffer(config, SHAPE, device=device), generator(5)
        made.push(residuals.to(device), levels.to(device), draws)
        outcome.append(made.disturb(given.to(device), 1, draws).cpu())
    torch.testing.assert_close(*outcome)


def test_processes_that_hold_parts_of_a_batch_add_what_one_would_add() -> None:
    made = buffer(probability=0.7)
    values = torch.arange(1.0, 10.0)[:, None, None, None].expand(-1, *SHAPE)
    made.push(values, torch.linspace(0, 0.99, 9), generator())
    given = torch.randn(8, 5, *SHAPE, generator=generator(1))
    for residuals in (None, torch.randn(given.shape, generator=generator(2))):
        whole = made.disturb(given, 5, generator(), residuals=residuals)
        parts = [
            made.disturb(
                given[rows],
                5,
                generator(),
                residuals=None if residuals is None else residuals[rows],
                rows=rows,
                num_samples=8,
            )
            for rows in (slice(0, 4), slice(4, 8))
        ]
        assert torch.equal(torch.cat(parts), whole)
        assert not torch.equal(whole, given)


def test_a_latents_own_residual_is_added_by_the_drawn_strength() -> None:
    made = buffer(probability=1.0, max_strength=1.0)  # its reservoirs are empty
    residuals = torch.ones(6, 5, *SHAPE)
    disturbed = made.disturb(latents(6), 5, generator(), residuals=residuals)
    by_sample = disturbed.flatten(1)
    assert (by_sample.amax(1) == by_sample.amin(1)).all()
    assert len(set(strengths(disturbed).tolist())) == 6
    assert torch.equal(made.disturb(latents(6), 1, generator(), residuals=residuals), latents(6))
