"""A module and the DeepSpeed engine that updates it, the same on a CPU and on GPUs.

The learner owns the optimiser (AdamW), the learning rate of each step, gradient clipping, mixed
precision and the moving average of the parameters. Its state has names and shapes that do not
depend on how many processes trained, so a run may go on with another number of them. It does not
know losses, data or files.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from worldloom.errors import TrainingError
from worldloom.train.config import LearnerConfig

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

__all__ = ["Learner", "LearnerConfig", "learning_rate_at"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


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
        self._names = [name for name, p in module.named_parameters() if p.requires_grad]
        if not self._names:
            message = f"{type(module).__name__}: no parameter requires a gradient"
            raise ValueError(message)
        self._optimizer = torch.optim.AdamW(
            self._parameter_groups(),
            lr=config.learning_rate,
            betas=config.betas,
            fused=device.type == "cuda",  # one launch instead of one a parameter and operation
        )
        self._ema = {name: p.detach().clone() for name, p in self._trained()}
        self._engine = self._start_engine()
        self._start_moments()

    def compute(self, compute: Callable[[], Tensor]) -> Tensor:
        """Return the loss that `compute` returns, run under the engine's hooks and precision."""
        loss: Tensor = self._engine(compute)
        return loss

    def step(self, loss: Tensor) -> float:
        """Update the parameters by the loss's gradient; return the norm before clipping."""
        self.backward(loss)
        return self.update()

    def backward(self, loss: Tensor) -> None:
        """Compute the loss's gradient; the parameters stay as they are."""
        self._engine.backward(loss)

    def update(self) -> float:
        """Update the parameters by the gradient; return its norm before clipping."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        norm = self._plain_gradient_norm() if self.config.zero_stage == 0 else None
        self._engine.step()
        if norm is None:
            norm = float(self._engine.get_global_grad_norm() or 0.0)
        self._update_ema()
        self.num_steps += 1
        return norm

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
        kept = {name: parameters[name].clone() for name in self._names}
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
        for name in self._names:
            self._ema[name].copy_(state[f"ema.{name}"])
        self._load_moments(state)

    # -- parameters, however they are split -------------------------------------------------

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.module.named_parameters() if p.requires_grad)

    def _parameter_groups(self) -> list[dict[str, object]]:
        matrices = [p for _, p in self._trained() if p.dim() > 1]
        vectors = [p for _, p in self._trained() if p.dim() <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def _start_engine(self) -> DeepSpeedEngine:
        import deepspeed

        engine, *_ = deepspeed.initialize(
            model=_Computation(self.module),
            optimizer=self._optimizer,
            config=engine_config(self.config),
            dist_init_required=False,
        )
        return engine

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
            return {name: self._optimizer.state[p][moment] for name, p in self._trained()}
        from deepspeed.utils import safe_get_full_optimizer_state

        return {name: safe_get_full_optimizer_state(p, moment) for name, p in self._trained()}

    def _fill(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._trained():
                with _writable(parameter):
                    parameter.data.copy_(values[name])

    def _plain_gradient_norm(self) -> float:
        gradients = [p.grad for _, p in self._trained() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients).item())

    def _update_ema(self) -> None:
        step = self.num_steps + 1
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            whole = self._full_parameters()
            averages = [self._ema[name] for name in self._names]
            torch._foreach_lerp_(averages, [whole[name] for name in self._names], 1 - decay)

    # -- loading ----------------------------------------------------------------------------

    def _check_state(self, state: Mapping[str, Tensor]) -> None:
        shapes = {f"parameters.{n}": _shape(p) for n, p in self.module.named_parameters()}
        names = {n for n, _ in self.module.named_parameters()}
        buffers = {n: v for n, v in self.module.state_dict().items() if n not in names}
        shapes |= {f"buffers.{n}": v.shape for n, v in buffers.items()}
        shapes |= {f"ema.{n}": shapes[f"parameters.{n}"] for n in self._names}
        shapes["num_steps"] = torch.Size([])
        shapes |= {f"{m}.{n}": shapes[f"parameters.{n}"] for m in _MOMENTS for n in self._names}
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
            for name, parameter in self._trained():
                value = state[f"{moment}.{name}"].to(self.device)
                if self.config.zero_stage == 0:
                    self._optimizer.state[parameter][moment].copy_(value)
                else:
                    safe_set_full_optimizer_state(parameter, value, moment)


def engine_config(config: LearnerConfig) -> dict[str, object]:
    """Return DeepSpeed's JSON for a learner; the keys are those of a run on GPUs."""
    values: dict[str, object] = {
        "train_micro_batch_size_per_gpu": config.micro_batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.gradient_clip,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
    }
    if config.precision == "bf16":
        values["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return values


def start_distributed() -> torch.device:
    """Join the job's processes, or be a job of one; return this process's device.

    A launcher (torchrun, Ray Train) sets RANK and WORLD_SIZE; without one no port is opened.
    """
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").addFilter(_warnings_only)
    with _absent("mlflow"):  # DeepSpeed's autotuner, not used here, would take seconds to import it
        import deepspeed
    from deepspeed import ops

    # Its build compiles C++ for half a minute; gloo and NCCL need nothing of it.
    ops.__compatible_ops__["deepspeed_shm_comm"] = False
    local_rank = int(os.environ.setdefault("LOCAL_RANK", "0"))
    if not torch.distributed.is_initialized():
        backend = "nccl" if on_gpu else "gloo"
        if "RANK" in os.environ:
            torch.distributed.init_process_group(backend)
        else:
            store = torch.distributed.HashStore()  # type: ignore[attr-defined]
            torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
    return torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")


@contextlib.contextmanager
def _absent(module: str) -> Iterator[None]:
    """Let imports of an optional module fail inside the block, unless it is already there."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # what importlib takes as "not there"
    try:
        yield
    finally:
        del sys.modules[module]


def _warnings_only(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


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
