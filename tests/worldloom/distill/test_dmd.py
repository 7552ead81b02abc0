import copy
from types import SimpleNamespace

import pytest
import torch
from tiny import CONFIG, tiny_clips, tiny_transformer

from worldloom.distill.config import DistillationConfig
from worldloom.distill.dmd import Distillation, require_alone
from worldloom.distill.draws import Draws
from worldloom.errors import TrainingError
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.train.tracking import NullTracker


def distillation(num_steps=3, **values):
    teacher = tiny_transformer()
    return Distillation(
        DistillationConfig(
            **(
                {
                    "num_steps": num_steps,
                    "batch_clips": 2,
                    "max_segments": 2,
                    "critic_updates_per_student_update": 1,
                    "checkpoint_every_steps": 1,
                }
                | values
            )
        ),
        teacher=teacher,
        student=copy.deepcopy(teacher),
        train=tiny_clips(),
        held_out=tiny_clips(seed=4),
        retrieval=RetrievalConfig(),
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_critic_that_agrees_with_the_teacher_leaves_the_student_alone():
    run = distillation()
    scored = run._scored_segment(Draws.of_host(generator()))
    view, recorded = scored.view, scored.recorded
    made = torch.randn(recorded.shape, generator=generator(1))
    torch.testing.assert_close(run._matched(made, view, Draws.of_host(generator(2))), made)


def test_the_student_is_pushed_from_the_critics_estimate_towards_the_teachers():
    run = distillation()
    with torch.no_grad():
        for parameter in run.critic.head.parameters():
            parameter.add_(0.05)
    scored = run._scored_segment(Draws.of_host(generator()))
    view, recorded = scored.view, scored.recorded
    made = torch.randn(recorded.shape, generator=generator(1))
    push = run._matched(made, view, Draws.of_host(generator(2))) - made
    assert push.abs().max() > 0
    # The critic's velocity is larger, so its clean estimate is lower: the push goes up with it.
    from worldloom.diffusion.schedule import add_noise, velocity_to_x0
    from worldloom.train.self_rollout import velocity_of

    draw = generator(2)
    sigma = run._score_sigma(len(made), draw)
    noisy = add_noise(made, torch.randn(made.shape, generator=draw), sigma)
    with torch.no_grad():
        teacher, critic = (
            velocity_to_x0(noisy, velocity_of(n, run.conditioner, view)(noisy, sigma), sigma)
            for n in (run.teacher, run.critic)
        )
    scale = (made - teacher).abs().flatten(1).mean(1).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(push, (teacher - critic) / scale, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_run_changes_the_student_and_not_the_teacher(tmp_path):
    run = distillation(num_steps=2)
    before = copy.deepcopy(run.teacher.state_dict())
    state = run.run(tmp_path, NullTracker())
    assert all(torch.equal(value, before[name]) for name, value in run.teacher.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in state.items())
    assert len(run.history) == 2


@pytest.mark.slow
@pytest.mark.parametrize("rollouts", ["fresh", "persistent"])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path, rollouts):
    whole = distillation(num_steps=3, rollouts=rollouts).run(tmp_path / "whole", NullTracker())
    distillation(num_steps=1, rollouts=rollouts).run(tmp_path / "parts", NullTracker())
    parts = distillation(num_steps=3, rollouts=rollouts).run(tmp_path / "parts", NullTracker())
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_held_out_error_is_measured_on_the_rollout():
    run = distillation()
    one = run.rollout_error(run.student, 2)
    assert one == run.rollout_error(run.student, 2)
    with torch.no_grad():
        run.student.head.bias.add_(1.0)
    assert run.rollout_error(run.student, 2) != one


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run = distillation()
    with torch.no_grad():
        run.student.head.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"loss is nan, expected a finite number; .*: clip-"):
        run.run(tmp_path, NullTracker())


def test_another_configuration_is_not_gone_on_with(tmp_path):
    distillation(num_steps=1).run(tmp_path, NullTracker())
    with pytest.raises(TrainingError, match=r"distillation\.batch_clips=2 then, 3 now"):
        distillation(num_steps=2, batch_clips=3).run(tmp_path, NullTracker())


@pytest.mark.parametrize("ratio", [1, 3, 5])
def test_the_critic_is_updated_so_often_for_each_update_of_the_student(ratio, monkeypatch):
    run = distillation(critic_updates_per_student_update=ratio)
    calls = []
    monkeypatch.setattr(run, "_update_critic", lambda *_: calls.append("critic") or 0.0)
    student = SimpleNamespace(
        num_steps=0, compute=lambda f: f(), step=lambda _: calls.append("student") or 0.0
    )
    run._update(student, None)
    assert calls == ["critic"] * ratio + ["student"]


def test_segments_are_as_long_as_configured():
    run = distillation()
    assert (
        run._scored_segment(Draws.of_host(generator())).recorded.shape[2] == CONFIG.segment_latents
    )


def test_several_processes_are_refused():
    require_alone(1)
    with pytest.raises(TrainingError, match="distillation on 2 processes: expected one"):
        require_alone(2)
