"""A recorded computation answers what it would answer itself, also after what it reads changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from worldloom.train.recorded import Recorded as RecordedTuple

ON_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: elsewhere nothing is recorded"
)


class Recorded:
    """A recorded network of one output."""

    def __init__(self, module: nn.Module, *, rounds_weights: bool = False) -> None:
        self._recorded = RecordedTuple(
            module,
            lambda network, x: (network(x.to(network[0].weight.dtype)),),
            rounds_weights=rounds_weights,
        )

    def __call__(self, x: Tensor) -> Tensor:
        (output,) = self._recorded(x)
        return output


def network(device: str) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)).to(device)


def inputs(seed: int, device: str, rows: int = 5) -> Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)).to(device)


def gradients(module: nn.Module, output: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(output.square().mean(), list(module.parameters())))


def test_elsewhere_than_on_a_gpu_it_simply_computes() -> None:
    made = network("cpu")
    recorded = Recorded(made)
    x = inputs(0, "cpu")
    assert torch.equal(recorded(x), made(x))
    for found, wanted in zip(gradients(made, recorded(x)), gradients(made, made(x)), strict=True):
        assert torch.equal(found, wanted)


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


@ON_GPU
@pytest.mark.parametrize("rounds_weights", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_replays_follow_inputs_weights_and_shapes(
    precision: torch.dtype, rounds_weights: bool
) -> None:
    made = network("cuda")
    recorded = Recorded(made, rounds_weights=rounds_weights)
    most = 1e-6 if precision == torch.float32 else 2e-2
    others = []
    for seed in range(4):
        x = inputs(seed, "cuda", rows=5 + seed % 2)
        # Entered anew, since autocast remembers weights as they were.
        with torch.autocast("cuda", dtype=precision, enabled=precision != torch.float32):
            assert distance(recorded(x), made(x)) < most
            found, wanted = gradients(made, recorded(x)), gradients(made, made(x))
            for one, other in zip(found, wanted, strict=True):
                assert one.dtype == torch.float32
                assert distance(one, other) < most
            with torch.no_grad():
                assert distance(recorded(x), made(x)) < most
        # What a recording reads is nobody else's memory.
        others += [torch.full_like(p, 7.0, dtype=precision) for p in made.parameters()]
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    assert all(bool((other == 7.0).all()) for other in others)


@ON_GPU
def test_what_a_replay_returned_outlasts_the_next() -> None:
    made = network("cuda")
    recorded = Recorded(made)
    first = recorded(inputs(0, "cuda"))
    kept = first.detach().clone()
    recorded(inputs(1, "cuda"))
    assert torch.equal(first, kept)


@ON_GPU
def test_a_network_that_learns_nothing_has_no_gradient() -> None:
    made = network("cuda").requires_grad_(requires_grad=False)
    assert not Recorded(made)(inputs(0, "cuda")).requires_grad


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_of_several_outputs_those_that_hang_on_weights_have_gradients(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device: elsewhere nothing is recorded")
    made = network(device)

    def compute(network: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            scaled = network[0].weight.sum() * x
        return network(x), scaled

    x = inputs(0, device)
    recorded, plain = RecordedTuple(made, compute)(x), compute(made, x)
    assert [one.requires_grad for one in recorded] == [True, False]
    for one, other in zip(recorded, plain, strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(gradients(made, recorded[0]), gradients(made, plain[0]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
