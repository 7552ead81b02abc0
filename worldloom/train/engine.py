"""DeepSpeed's engine: how it is set up and started, and which process of a job this one is.

It does not know what is learnt, nor the learner's state.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from worldloom.train.config import LearnerConfig

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def start_engine(
    module: nn.Module, optimizer: torch.optim.Optimizer, config: LearnerConfig
) -> DeepSpeedEngine:
    """Return the engine that runs and updates a module; the job's processes have been joined."""
    import deepspeed

    engine, *_ = deepspeed.initialize(
        model=module, optimizer=optimizer, config=engine_config(config), dist_init_required=False
    )
    if torch.distributed.get_world_size() == 1 and config.zero_stage == 0:
        # It would copy every gradient into one buffer and back, to add up nothing.
        engine.enable_backward_allreduce = False
    return engine


def engine_config(config: LearnerConfig) -> dict[str, object]:
    """Return DeepSpeed's JSON for a learner; the keys are those of a run on GPUs."""
    values: dict[str, object] = {
        "train_micro_batch_size_per_gpu": config.micro_batch_size,
        "gradient_accumulation_steps": 1,
        # Without ZeRO the learner clips: the engine would do it parameter by parameter.
        "gradient_clipping": config.gradient_clip if config.zero_stage else 0.0,
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
