"""How an experiment's arms are trained, and what is told of it afterwards.

    <out>/training.json   `TrainingRecord`

It imports no torch. It does not know how training is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from worldloom.config import Config, load_config
from worldloom.errors import ArtifactError
from worldloom.legs.config import FeedConfig
from worldloom.rollout.config import SamplerConfig
from worldloom.train.checkpoint import write_atomically
from worldloom.train.config import Optimizer
from worldloom.train.flow_config import Compilation

RECORD_FILE = "training.json"
SHARED = "shared"  # stands for an arm's name where all arms share their first steps


class TrainArmsConfig(Config):
    """How long an experiment's arms are trained, and on what."""

    preset: str = Field("nano-stream", description="a stream preset with the small VAE")
    shape: tuple[str, ...] = Field((), description="path=value over the preset's shape, for all")
    start: Literal["nothing", "base"] = Field(
        "nothing",
        description="what arms that match flow begin with: random weights and the steps that they "
        "share, or the `base` of the folder of weights; students always begin with it",
    )
    num_seeds: int = Field(3, ge=1, description="trainings of every arm")
    num_steps: int = Field(500, ge=1, description="steps of every arm, after those that are shared")
    shared_steps: int = Field(
        500, ge=1, description="steps that all arms share, where the plan says so"
    )
    batch: int = Field(32, ge=1, description="clips of a step")
    learning_rate: float = Field(0.0, ge=0, description="peak rate; 0: the recipe's")
    sampler: SamplerConfig | None = Field(
        None, description="how arms that match flow are walked; None: as the preset's base"
    )
    optimizer: Optimizer = Field("adamw", description="how arms that match flow update matrices")
    compilation: Compilation = Field(
        "none",
        description="as `FlowObjectiveConfig` says; distillation is recorded where this is",
    )
    num_processes: int = Field(1, ge=1, description="trainings that share the device")
    feed: FeedConfig = Field(
        FeedConfig(procedural_clips=1024, vizdoom_clips=0), description="clips, the same for all"
    )


class TrainedArm(Config):
    """One training."""

    arm: str = Field(description="the arm")
    seed: int = Field(ge=0, description="which training")
    num_steps: int = Field(ge=0, description="steps, those that were shared left out")
    seconds: float = Field(ge=0, description="time that it took, beside others")
    held_out: dict[str, float] = Field(description="what held-out clips said at its end")


class TrainingRecord(Config):
    """What was trained, and how."""

    experiment: str = Field(description="whose arms")
    config: TrainArmsConfig = Field(description="how long and on what")
    device: str = Field(description="where")
    arms: tuple[TrainedArm, ...] = Field(description="the trainings, in the order they ended")


def arm_folder(out: Path, arm: str, seed: int) -> Path:
    """Return where the transformer of an arm and a seed is."""
    return out / arm / str(seed)


def write_training(out: Path, record: TrainingRecord) -> None:
    """Write what was trained into a folder of arms."""
    write_atomically(out / RECORD_FILE, (record.model_dump_json(indent=1) + "\n").encode())


def read_training(out: Path) -> TrainingRecord:
    """Return what was trained into a folder of arms.

    Raises:
        ArtifactError: when nothing was.
    """
    path = out / RECORD_FILE
    if not path.is_file():
        message = f"{path}: missing, expected a folder that `worldloom experiment train` wrote"
        raise ArtifactError(message)
    return load_config(TrainingRecord, path.read_text(encoding="utf-8"), where=path.name)


def trained_folders(out: Path) -> dict[str, list[Path]]:
    """Return the transformers of every arm, seed by seed, those seeds that all arms have."""
    record = read_training(out)
    arms = [a for a in dict.fromkeys(trained.arm for trained in record.arms) if a != SHARED]
    by_arm = {arm: {t.seed for t in record.arms if t.arm == arm} for arm in arms}
    seeds = sorted(set.intersection(*by_arm.values())) if by_arm else []
    return {arm: [arm_folder(out, arm, seed) for seed in seeds] for arm in arms}
