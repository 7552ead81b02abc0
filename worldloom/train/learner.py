"""A module and the DeepSpeed engine that updates it, the same on a CPU and on GPUs.

The learner owns the optimiser (AdamW, or Muon for hidden matrices), the learning rate of each
step, gradient clipping, mixed precision and the moving average of the parameters. Its state has
names and shapes that do not depend on how many processes trained, so a run may go on with another
number of them. It does not know losses, data or files.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from worldloom.errors import TrainingError
from worldloom.train.config import LearnerConfig
from worldloom.train.engine import start_distributed, start_engine
from worldloom.train.muon import Muon, split_matrices

__all__ = ["Learner", "LearnerConfig", "learning_rate_at"]

_MOMENTS = ("exp_avg", "exp_avg_sq")
_CLIP_EPS = 1e-6  # as in DeepSpeed and torch


def learning_rate_at(config: LearnerConfig, step: int) -> float:
    """Return the learning rate of a step (counted from 0)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    span = config.decay_steps - config.warmup_steps
    progress = min((step - config.warmup_steps) / span, 1.0)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.learning_rate * (config.final_fraction + (1 - config.final_fraction) * cosine)


class _Computation(nn.Module):
    """The root that the engine sees: any computation that uses the module's parameters."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, compute: Callable[[], Tensor]) -> Tensor:
        return compute()


class Learner:
    """Update one module by gradients of a loss, and keep its moving average."""

    def __init__(self, module: nn.Module, config: LearnerConfig) -> None:
        """Move the module to this process's device and start its engine (seconds, once)."""
        self.module = module
        self.config = config
        self.num_steps = 0
        self.rate_scale = 1.0  # a run whose end is a time, not a step, lowers its rate by it
        device = start_distributed()
        module.to(device)
        self.device = device
        self._trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self._trained:
            message = f"{type(module).__name__}: no parameter requires a gradient"
            raise ValueError(message)
        self._optimizer = self._build_optimizer()
        self._ema = {name: p.detach().clone() for name, p in self._trained.items()}
        self._engine = start_engine(_Computation(module), self._optimizer, config)
        self._norm: float | None = None  # of the gradient, where the engine does not clip
        self._start_moments()

    def compute(self, compute: Callable[[], Tensor]) -> Tensor:
        """Return the loss that `compute` returns, run under the engine's hooks and precision."""
        loss: Tensor = self._engine(compute)
        return loss

    def step(self, loss: Tensor) -> float:
        """Update the parameters by the loss's gradient; return the norm before clipping."""
        self.backward(loss)
        return self.update()

    def backward(self, loss: Tensor) -> float:
        """Compute the loss's gradient; the parameters stay as they are. Return the loss's value.

        Without ZeRO the gradient's norm is read with it: the device is waited for once a step.
        """
        self._engine.backward(loss)
        found = [loss.detach()]
        if self.config.zero_stage == 0:
            found.append(torch.nn.utils.get_total_norm(self._gradients()))
        value, *norm = torch.stack([number.double() for number in found]).tolist()
        self._norm = norm[0] if norm else None
        return float(value)

    def update(self) -> float:
        """Update the parameters by the gradient; return its norm before clipping."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate * group.get("rate_scale", 1.0)
        if self._norm is not None:
            self._clip(self._norm)
        self._engine.step()
        norm = self._engine.get_global_grad_norm() if self._norm is None else self._norm
        self._update_ema()
        self.num_steps += 1
        return float(norm or 0.0)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self.rate_scale * learning_rate_at(self.config, self.num_steps)

    def ema_state(self) -> dict[str, Tensor]:
        """Return the averaged parameters by name (trained ones only), on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self._ema.items()}

    def module_state(self, *, averaged: bool = True) -> dict[str, Tensor]:
        """Return the module's whole state by name on the CPU, averaged where it was trained."""
        state = {name: value.detach().cpu() for name, value in self._full_parameters().items()}
        if averaged:
            state |= self.ema_state()
        buffers = {k: v for k, v in self.module.state_dict().items() if k not in state}
        return state | {name: value.detach().cpu().clone() for name, value in buffers.items()}

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Let the module compute with its averaged parameters inside the block."""
        parameters = self._full_parameters()
        kept = {name: parameters[name].clone() for name in self._trained}
        self._fill(self._ema)
        try:
            yield
        finally:
            self._fill(kept)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return everything that training goes on from, by names free of the world size."""
        state: dict[str, Tensor] = {"num_steps": torch.tensor(self.num_steps)}
        parameters = self._full_parameters()
        state |= {f"parameters.{name}": value for name, value in parameters.items()}
        buffers = self.module.state_dict().items()
        state |= {f"buffers.{name}": v for name, v in buffers if name not in parameters}
        state |= {f"ema.{name}": value for name, value in self._ema.items()}
        for moment in _MOMENTS:
            moments = self._full_moments(moment)
            state |= {f"{moment}.{name}": value for name, value in moments.items()}
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the state of a learner of the same module.

        Raises:
            TrainingError: naming the first tensor that is missing, unknown or of another shape.
        """
        self._check_state(state)
        self.num_steps = int(state["num_steps"].item())
        self._load_parameters(state)
        for name in self._trained:
            self._ema[name].copy_(state[f"ema.{name}"])
        self._load_moments(state)

    # -- parameters, however they are split -------------------------------------------------

    def _build_optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        is_fused = self.device.type == "cuda"  # one launch, not one a parameter and operation
        if config.optimizer == "adamw":
            groups = self._parameter_groups(self._trained)
            return torch.optim.AdamW(
                groups, lr=config.learning_rate, betas=config.betas, fused=is_fused
            )
        hidden, others = split_matrices(self._trained.items())
        if not hidden:
            message = f"{type(self.module).__name__}: no matrix in blocks, expected some for Muon"
            raise ValueError(message)
        matrices = {
            "params": list(hidden.values()),
            "weight_decay": config.weight_decay,
            "rate_scale": config.matrix_rate_scale,
        }
        return Muon(
            matrices,
            self._parameter_groups(others),
            rate=config.learning_rate,
            betas=config.betas,
            fused=is_fused,
        )

    def _parameter_groups(self, named: Mapping[str, nn.Parameter]) -> list[dict[str, object]]:
        matrices = [p for p in named.values() if p.dim() > 1]
        vectors = [p for p in named.values() if p.dim() <= 1]
        groups: list[dict[str, object]] = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def _flat_parameters(self) -> list[Tensor]:
        if self.config.zero_stage == 3:
            return list(self._engine.optimizer.fp32_partitioned_groups_flat)
        return [flat for group in self._optimizer.param_groups for flat in group["params"]]

    def _start_moments(self) -> None:
        """Give every parameter its moments before the first step, as AdamW would at it.

        ZeRO 1 and 2 link parameters to their moments once, while the first group is updated; with
        two groups the second would have none yet and could be neither saved nor loaded.
        """
        for flat in self._flat_parameters():
            moments = {moment: torch.zeros_like(flat) for moment in _MOMENTS}
            steps = torch.zeros((), device=flat.device)  # where the fused kernel reads them
            self._optimizer.state[flat] = {"step": steps} | moments
        if self.config.zero_stage in (1, 2):
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001

    def _full_parameters(self) -> dict[str, Tensor]:
        if self.config.zero_stage < 3:
            return {name: p.detach() for name, p in self.module.named_parameters()}
        return {
            name: _whole(p) if p.requires_grad else p.detach()
            for name, p in self.module.named_parameters()
        }

    def _full_moments(self, moment: str) -> dict[str, Tensor]:
        if self.config.zero_stage == 0:
            return {name: self._optimizer.state[p][moment] for name, p in self._trained.items()}
        from deepspeed.utils import safe_get_full_optimizer_state

        return {name: safe_get_full_optimizer_state(p, moment) for name, p in self._trained.items()}

    def _fill(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._trained.items():
                with _writable(parameter):
                    parameter.data.copy_(values[name])

    def _gradients(self) -> list[Tensor]:
        """Return all gradients; a parameter that the loss does not touch has one of zeros."""
        gradients = []
        for parameter in self._trained.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        return gradients

    def _clip(self, norm: float) -> None:
        """Scale all gradients at once, as the engine would one after the other."""
        largest = self.config.gradient_clip
        if largest and norm > largest:
            torch._foreach_mul_(self._gradients(), largest / (norm + _CLIP_EPS))

    def _update_ema(self) -> None:
        step = self.num_steps + 1
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            if self.config.zero_stage < 3:
                now = [p.detach() for p in self._trained.values()]
            else:
                now = [_whole(p) for p in self._trained.values()]
            torch._foreach_lerp_(list(self._ema.values()), now, 1 - decay)

    # -- loading ----------------------------------------------------------------------------

    def _check_state(self, state: Mapping[str, Tensor]) -> None:
        shapes = {f"parameters.{n}": _shape(p) for n, p in self.module.named_parameters()}
        names = {n for n, _ in self.module.named_parameters()}
        buffers = {n: v for n, v in self.module.state_dict().items() if n not in names}
        shapes |= {f"buffers.{n}": v.shape for n, v in buffers.items()}
        shapes |= {f"ema.{n}": shapes[f"parameters.{n}"] for n in self._trained}
        shapes["num_steps"] = torch.Size([])
        shapes |= {f"{m}.{n}": shapes[f"parameters.{n}"] for m in _MOMENTS for n in self._trained}
        for name in sorted(shapes.keys() | state.keys()):
            here = tuple(shapes[name]) if name in shapes else "no such tensor"
            there = tuple(state[name].shape) if name in state else "no such tensor"
            if here != there:
                message = f"{name}: the checkpoint has {there}, the module expects {here}"
                raise TrainingError(message)

    def _load_parameters(self, state: Mapping[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param

        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                value = state[f"parameters.{name}"].to(self.device)
                with _writable(parameter):
                    parameter.data.copy_(value)
                if self.config.zero_stage and parameter.requires_grad:
                    safe_set_full_fp32_param(parameter, value)
            own = self.module.state_dict()
            for name in (n for n in state if n.startswith("buffers.")):
                own[name.removeprefix("buffers.")].copy_(state[name])

    def _load_moments(self, state: Mapping[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        for flat in self._flat_parameters():
            self._optimizer.state[flat]["step"].fill_(self.num_steps)
        for moment in _MOMENTS:
            for name, parameter in self._trained.items():
                value = state[f"{moment}.{name}"].to(self.device)
                if self.config.zero_stage == 0:
                    self._optimizer.state[parameter][moment].copy_(value)
                else:
                    safe_set_full_optimizer_state(parameter, value, moment)


def _is_split(parameter: nn.Parameter) -> bool:
    return hasattr(parameter, "ds_id")


def _shape(parameter: nn.Parameter) -> torch.Size:
    if _is_split(parameter):
        whole: torch.Size = parameter.ds_shape  # type: ignore[attr-defined]
        return whole
    return parameter.shape


def _whole(parameter: nn.Parameter) -> Tensor:
    from deepspeed.utils import safe_get_full_fp32_param

    value: Tensor | None = safe_get_full_fp32_param(parameter)
    assert value is not None
    return value


@contextlib.contextmanager
def _writable(parameter: nn.Parameter) -> Iterator[None]:
    if not _is_split(parameter):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        yield
