"""One experiment on one machine: what is asked, how much of it, where weights and results lie.

It also keeps the network that reads actions, taught once for a world and a size, and the processes
that measure walks side by side. It does not know how cells are computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import Field

from worldloom.config import Config, digest_of, resolved
from worldloom.data.schema import Clip
from worldloom.errors import ConfigError
from worldloom.evaluate.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    load_inverse_dynamics,
    save_inverse_dynamics,
)
from worldloom.evaluate.inverse_dynamics_training import (
    InverseDynamicsTraining,
    record_lesson,
    train_inverse_dynamics,
)
from worldloom.evaluate.protocol import CasesConfig, PathKind, WorldName
from worldloom.experiments.arms import Arm, Experiment, WalkPlan
from worldloom.experiments.figures import MeasureConfig
from worldloom.experiments.networks import WeightFolders
from worldloom.experiments.probes import ProbeConfig
from worldloom.experiments.training_record import TrainingRecord

Tell = Callable[[str], None]
_WORKERS_NICENESS = 5

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class RunConfig(Config):
    """How an experiment is run, apart from what it asks."""

    worlds: tuple[WorldName, ...] = Field(("procedural",), min_length=1, description="where")
    num_cases: int | None = Field(None, ge=1, description="walks of each kind; None: as planned")
    cases: Mapping[PathKind, int] = Field(
        default_factory=dict,
        description="walks of some kinds of way, where it is another number than num_cases",
    )
    max_segments: int | None = Field(
        None, ge=1, description="longest walk, segments; None: as planned"
    )
    paths: tuple[PathKind, ...] | None = Field(
        None, min_length=1, description="kinds of way; None: all that are planned"
    )
    arms: tuple[str, ...] | None = Field(
        None, min_length=1, description="arms that are walked; None: all that have weights"
    )
    decoder_steps: int | None = Field(
        None, ge=0, description="steps in which cut decoders are taught; None: as planned"
    )
    base_steps: int | None = Field(
        None, ge=1, description="steps in which base models walk; None: as their own sampler does"
    )
    batch_size: int = Field(16, ge=1, description="walks that advance together")
    seed: int = Field(0, ge=0, lt=40, description="seed of the cases and of their noise")
    num_workers: int = Field(1, ge=1, description="processes that record and measure walks")
    timed_segments: int = Field(6, ge=0, description="segments of one walk that are timed")
    probe: ProbeConfig = Field(ProbeConfig(), description="how given pasts are spoilt")
    measure: MeasureConfig = Field(MeasureConfig(), description="how films are measured")
    reader: InverseDynamicsTraining | None = Field(
        InverseDynamicsTraining(), description="how actions are learnt to be read; None: not read"
    )


@dataclass
class Setting:
    """One experiment on one machine."""

    experiment: Experiment
    config: RunConfig
    folders: WeightFolders
    folder: Path
    device: torch.device
    command: str
    training: TrainingRecord | None = None
    tell: Tell = field(default=lambda _text: None)
    _pool: ProcessPoolExecutor | None = field(default=None, init=False, repr=False)

    def mapped(self, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        """Return what a function that can be pickled makes of each item, in order.

        With several workers, processes share the items.
        """
        if self.config.num_workers == 1:
            return [function(item) for item in items]
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.config.num_workers,
                mp_context=get_context("spawn"),
                initializer=_give_way,
            )
        return list(self._pool.map(function, items))

    def close(self) -> None:
        """End the processes; they come again when they are needed."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def plans(self) -> list[WalkPlan]:
        """Return the kinds of walk that are wanted.

        Raises:
            ConfigError: when none of those asked for is planned, for any of the arms asked for.
        """
        wanted, planned = self.config.paths, self.experiment.walks
        arms = {arm.name for arm in self.arms()}
        planned = tuple(p for p in planned if p.arms is None or arms & set(p.arms))
        found = [plan for plan in planned if wanted is None or plan.path in wanted]
        if not found:
            message = (
                f"paths {wanted}: experiment {self.experiment.name} has"
                f" {', '.join(plan.path for plan in planned)}, expected some of these"
            )
            raise ConfigError(message)
        return found

    def num_cases(self, plan: WalkPlan) -> int:
        """Return how many walks of a kind there are."""
        return self.config.cases.get(plan.path, self.config.num_cases or plan.num_cases)

    def arms(self) -> list[Arm]:
        """Return the arms that are wanted, the control first, and what is asked of their decoders.

        Raises:
            ConfigError: for an arm that the experiment has not.
        """
        steps, asked = self.config.decoder_steps, self.config.arms
        known = [arm.name for arm in self.experiment.arms]
        strangers = [name for name in asked or () if name not in known]
        if strangers:
            message = (
                f"arms {', '.join(strangers)}: experiment {self.experiment.name} has"
                f" {', '.join(known)}, expected some of these"
            )
            raise ConfigError(message)
        every = [
            arm.model_copy(update={"decoder_steps": steps})
            if arm.decoder_removed and steps is not None
            else arm
            for arm in self.experiment.arms
            if asked is None or arm.name in asked
        ]
        return sorted(every, key=lambda arm: arm.name != self.experiment.control)

    def left_out(self) -> list[str]:
        """Return the arms that are wanted and for which no weights were given."""
        wanted = {arm.name for arm in self.arms() if not self.folders.transformers_of(arm)}
        return [arm.name for arm in self.experiment.arms if arm.name in wanted]

    def lessons(self, cases: CasesConfig, training: InverseDynamicsTraining) -> list[Clip]:
        """Return recordings of a world that no case stands in, to teach instruments on."""
        record = partial(record_lesson, cases, training)
        return self.mapped(record, range(training.num_clips))

    def reader(self, cases: CasesConfig) -> InverseDynamics | None:
        """Return the network that reads actions in a world, taught once and kept."""
        training = self.config.reader
        if training is None:
            return None
        size = f"{cases.world}-{cases.height}x{cases.width}"
        folder = self.folder.parent / "instruments" / f"{size}-{_short(resolved(training))}"
        if not folder.is_dir():
            self.tell(f"teaching an inverse-dynamics network on {training.num_clips} recordings")
            network = train_inverse_dynamics(
                self.lessons(cases, training),
                InverseDynamicsConfig(),
                training,
                speed_metres=cases.procedural.kinematics.speed_metres,
                device=self.device,
            )
            save_inverse_dynamics(folder, network)
        return load_inverse_dynamics(folder)


def _give_way() -> None:
    """Let a process that measures stand behind the one that feeds the device and times it."""
    torch.set_num_threads(1)
    os.nice(_WORKERS_NICENESS)


def _short(values: object) -> str:
    return digest_of(values).removeprefix("sha256:")[:12]
