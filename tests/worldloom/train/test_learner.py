"""One module's updates: schedule, clipping, averages, a state that goes back in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from worldloom.errors import TrainingError
from worldloom.train.checkpoint import same_tensors
from worldloom.train.learner import Learner, LearnerConfig, learning_rate_at


def network(seed: int = 0) -> nn.Module:
    module = nn.Sequential(nn.Linear(7, 13), nn.BatchNorm1d(13), nn.GELU(), nn.Linear(13, 3))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


def inputs(step: int) -> Tensor:
    return torch.randn(5, 7, generator=torch.Generator().manual_seed(step))


def train(learner: Learner, steps: range) -> list[float]:
    def loss_of(step: int) -> Tensor:
        x = inputs(step)
        return learner.compute(lambda: (learner.module(x) - x[:, :3]).square().mean())

    return [learner.step(loss_of(step)) for step in steps]


def test_warmup_then_constant() -> None:
    config = LearnerConfig(learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate_at(config, step) for step in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_ends_at_its_fraction() -> None:
    config = LearnerConfig(
        learning_rate=2.0, warmup_steps=2, schedule="cosine", decay_steps=10, final_fraction=0.1
    )
    assert learning_rate_at(config, 2) == 2.0
    assert learning_rate_at(config, 6) == pytest.approx(1.1)
    assert learning_rate_at(config, 10) == learning_rate_at(config, 99) == pytest.approx(0.2)


def test_cosine_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="decay_steps=3"):
        LearnerConfig(schedule="cosine", warmup_steps=3, decay_steps=3)


def test_first_update_is_adamw_by_hand() -> None:
    config = LearnerConfig(learning_rate=0.01, gradient_clip=0.0, weight_decay=0.1)
    module, twin = network(), network()
    learner = Learner(module, config)
    norm = train(learner, range(1))[0]
    x = inputs(0)
    (twin(x) - x[:, :3]).square().mean().backward()
    gradients = [p.grad for p in twin.parameters()]
    assert norm == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
    for after, parameter in zip(module.parameters(), twin.parameters(), strict=True):
        before = parameter.detach() * (1 - 0.01 * 0.1 if parameter.dim() > 1 else 1)
        assert parameter.grad is not None
        update = parameter.grad / (parameter.grad.abs() + 1e-8)
        torch.testing.assert_close(after.detach(), before - 0.01 * update, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stage", [0, 1])
def test_clipping_bounds_the_first_moment(stage: int) -> None:
    config = LearnerConfig(gradient_clip=0.01, betas=(0.0, 0.99), zero_stage=stage)
    learner = Learner(network(), config)
    norm = train(learner, range(1))[0]
    state = learner.state_tensors()
    moments = [v for name, v in state.items() if name.startswith("exp_avg.")]
    clipped = math.sqrt(sum(float(m.square().sum()) for m in moments))
    assert norm > 0.01
    assert clipped == pytest.approx(0.01, rel=1e-3)


def test_average_follows_the_ramp_and_then_the_decay() -> None:
    learner = Learner(network(), LearnerConfig(ema_decay=0.3, learning_rate=0.1))
    expected = learner.ema_state()
    for step in range(4):
        train(learner, range(step, step + 1))
        decay = min(0.3, (2 + step) / (11 + step))
        now = dict(learner.module.named_parameters())
        expected = {n: decay * v + (1 - decay) * now[n].detach() for n, v in expected.items()}
    for name, value in learner.ema_state().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_averaged_weights_are_there_inside_the_block_only(stage: int) -> None:
    learner = Learner(network(), LearnerConfig(learning_rate=0.1, zero_stage=stage))
    train(learner, range(2))
    before = learner.state_tensors()
    learner.module.eval()
    plain = learner.compute(lambda: learner.module(inputs(9)).sum())
    with learner.averaged_weights():
        averaged = learner.compute(lambda: learner.module(inputs(9)).sum())
    assert plain.item() != averaged.item()
    assert same_tensors(learner.state_tensors(), before)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_state_goes_on_in_another_learner_bit_for_bit(stage: int, precision: str) -> None:
    config = LearnerConfig(zero_stage=stage, precision=precision, warmup_steps=2)
    whole = Learner(network(), config)
    train(whole, range(6))
    half = Learner(network(), config)
    train(half, range(3))
    other = Learner(network(seed=5), config)
    other.load_state_tensors(half.state_tensors())
    train(other, range(3, 6))
    assert same_tensors(other.state_tensors(), whole.state_tensors())
    assert "buffers.1.running_mean" in whole.state_tensors()


class Blocks(nn.Module):
    """A network with two hidden matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(7, 7), nn.Linear(7, 7)])
        self.head = nn.Linear(7, 3)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks[1](self.blocks[0](x).tanh()))


def test_muon_moves_hidden_matrices_along_orthogonal_directions_at_its_own_rate() -> None:
    config = LearnerConfig(optimizer="muon", learning_rate=0.01, matrix_rate_scale=4.0)
    module = Blocks()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    train(Learner(module, config), range(1))
    moved = {name: p.detach() - before[name] for name, p in module.named_parameters()}
    singular = torch.linalg.svdvals(moved["blocks.1.weight"]) / (0.04 * 0.2 * 7**0.5)
    assert singular.max() < 1.3
    assert (singular > 0.6).sum() >= 3  # the gradient has the rank of a batch of 5 through 3 ways
    # AdamW's first step is its rate, whatever the gradient.
    assert moved["head.weight"].abs().median().item() == pytest.approx(0.01, rel=0.05)


def test_muon_goes_on_bit_for_bit() -> None:
    config = LearnerConfig(optimizer="muon", warmup_steps=2)
    whole, half, other = (Learner(Blocks(), config) for _ in range(3))
    train(whole, range(6))
    train(half, range(3))
    other.load_state_tensors(half.state_tensors())
    train(other, range(3, 6))
    assert same_tensors(other.state_tensors(), whole.state_tensors())


def test_muon_without_hidden_matrices_or_with_split_ones_is_refused() -> None:
    with pytest.raises(ValueError, match="no matrix in blocks"):
        Learner(network(), LearnerConfig(optimizer="muon"))
    with pytest.raises(ValueError, match="zero_stage=2 beside optimizer 'muon'"):
        LearnerConfig(optimizer="muon", zero_stage=2)


def test_stages_share_one_state() -> None:
    plain = Learner(network(), LearnerConfig())
    train(plain, range(2))
    split = Learner(network(seed=5), LearnerConfig(zero_stage=2))
    split.load_state_tensors(plain.state_tensors())
    assert same_tensors(split.state_tensors(), plain.state_tensors())


def test_frozen_parameters_stay_and_are_not_averaged() -> None:
    module = network()
    for parameter in module[0].parameters():
        parameter.requires_grad_(False)
    kept = module[0].weight.detach().clone()
    learner = Learner(module, LearnerConfig(learning_rate=0.1, weight_decay=0.5))
    train(learner, range(2))
    assert torch.equal(module[0].weight, kept)
    assert "0.weight" not in learner.ema_state()
    assert torch.equal(learner.module_state()["0.weight"], kept)


def test_module_state_loads_into_the_module() -> None:
    learner = Learner(network(), LearnerConfig(learning_rate=0.1))
    train(learner, range(2))
    other = network(seed=5)
    other.load_state_dict(learner.module_state())
    assert torch.equal(dict(other.named_parameters())["0.weight"], learner.ema_state()["0.weight"])


def test_state_of_another_module_is_refused_by_name() -> None:
    learner = Learner(network(), LearnerConfig())
    state = learner.state_tensors()
    state["parameters.0.weight"] = torch.zeros(2, 2)
    with pytest.raises(TrainingError, match=r"parameters\.0\.weight: the checkpoint has \(2, 2\)"):
        learner.load_state_tensors(state)
    del state["parameters.0.weight"]
    with pytest.raises(TrainingError, match=r"parameters\.0\.weight.*no such tensor"):
        learner.load_state_tensors(state)


def test_module_without_trained_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        Learner(nn.GELU(), LearnerConfig())


def test_a_parameter_that_the_loss_does_not_touch_decays_as_the_others_do() -> None:
    module = network()
    unused = nn.Parameter(torch.ones(2, 2))
    module.register_parameter("unused", unused)
    learner = Learner(module, LearnerConfig(learning_rate=0.1, weight_decay=0.5))
    train(learner, range(1))
    torch.testing.assert_close(unused.detach(), torch.full((2, 2), 0.95))


def test_a_gradient_within_the_bound_is_left_alone() -> None:
    bounded, free = (Learner(network(), LearnerConfig(gradient_clip=clip)) for clip in (1e3, 0.0))
    assert train(bounded, range(2)) == train(free, range(2))
    assert same_tensors(bounded.state_tensors(), free.state_tensors())


def test_the_backward_tells_the_loss_and_leaves_the_parameters() -> None:
    learner = Learner(network(), LearnerConfig())
    before = learner.module_state(averaged=False)["0.weight"]
    loss = learner.compute(lambda: learner.module(inputs(0)).square().mean())
    assert learner.backward(loss) == loss.item()
    assert torch.equal(learner.module_state(averaged=False)["0.weight"], before)
