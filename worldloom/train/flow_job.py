"""One flow-matching run as a job of plain values: the same entry for one process and for many.

Everything that a worker needs is named by folders that all workers see; what it leaves is the run's
checkpoint. It does not know who starts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from torch import Tensor

from worldloom.config import Config, load_config
from worldloom.data.latents import read_latents
from worldloom.train.config import TrainerConfig
from worldloom.train.flow_config import FlowObjectiveConfig
from worldloom.train.flow_objective import FlowObjective
from worldloom.train.model_checkpoint import load_model
from worldloom.train.tracking import Tracker
from worldloom.train.trainer import Trainer, TrainingResult


class FlowJob(Config):
    """A run: what is trained, on what, how, and where its checkpoint is."""

    start: Path = Field(description="folder of the transformer to go on from")
    latents: Path = Field(description="folder of encoded clips, both splits")
    folder: Path = Field(description="folder of the run's checkpoint")
    objective: FlowObjectiveConfig = Field(description="batches and what is hidden of them")
    trainer: TrainerConfig = Field(description="steps, checkpoints and learning rate")


def run_job(job: FlowJob, tracker: Tracker | None = None) -> TrainingResult:
    """Run a job in this process, alone or as one of several."""
    transformer, _ = load_model(job.start)
    objective = FlowObjective(
        job.objective,
        transformer.train(),
        read_latents(job.latents, "train"),
        read_latents(job.latents, "test"),
    )
    return Trainer(job.trainer).run(objective, folder=job.folder, tracker=tracker)


def run_job_text(text: str) -> None:
    """Run a job given as JSON: what a worker of another process is started with."""
    run_job(load_config(FlowJob, text, where="job"))


def averaged_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a module's state from a checkpoint's tensors, averaged where it was trained."""
    state: dict[str, Tensor] = {}
    for kind in ("buffers.", "parameters.", "ema."):  # the later ones stand in for the earlier
        for name, value in tensors.items():
            if name.startswith(kind):
                state[name.removeprefix(kind)] = value
    return state
