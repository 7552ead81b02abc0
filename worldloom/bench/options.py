"""What the options that change a student cost one that was not trained for them.

Walks of a release with an option are set beside walks of the same seeds and actions without it, on
the first segment and on the last. The scale is what another seed changes: so far apart are two
walks that are equally good. It measures no time and does not know how a report is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from pydantic import Field

from worldloom.actions import Actions
from worldloom.arrays import FloatArray
from worldloom.bench.record import BenchReport, Table, this_machine
from worldloom.config import Config
from worldloom.errors import ConfigError
from worldloom.evaluate.video_quality import psnr_db
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import make_fast
from worldloom.rollout.release import Release
from worldloom.rollout.session import WorldSession
from worldloom.rollout.world_model import Frames, WorldModel

_ANOTHER_SEED = "another seed, all on"
_TURNS = (-0.15, -0.05, 0.0, 0.0, 0.05, 0.15)

Way = Callable[[WorldModel], WorldModel]


class OptionsBenchConfig(Config):
    """How far is walked."""

    num_walks: int = Field(8, ge=2, description="walks of each way, in turn through the worlds")
    num_segments: int = Field(8, ge=2, description="segments of a walk")
    seed: int = Field(0, ge=0, description="seed of noise and actions")


def measure_options(config: OptionsBenchConfig, release: Release, command: str) -> BenchReport:
    """Walk with and without each option, on the release's device.

    Raises:
        ConfigError: for a transformer that is not one of plain passes.
    """
    transformer = release.model.transformer
    if not isinstance(transformer, WorldModelTransformer):
        message = (
            f"transformer {type(transformer).__name__}: expected a WorldModelTransformer, so that "
            "every option can be tried on it"
        )
        raise ConfigError(message)
    model = _fast(release.model, {})
    expected = _walks(config, release, model, config.seed)
    rows = [_row(_ANOTHER_SEED, expected, _walks(config, release, model, config.seed + 1))]
    for name, way in _ways(transformer.config.num_blocks).items():
        rows.append(_row(name, expected, _walks(config, release, way(release.model), config.seed)))
    frames = expected.shape[2]
    return BenchReport(
        title="What options cost a student that was not trained for them",
        command=command,
        notes=(
            f"PSNR against the same walk without the option; {config.num_walks} walks of "
            f"{config.num_segments} segments of {frames} frames, mean and standard error.",
            f"Noise levels of the student: {', '.join(map(str, release.model.sampler.sigmas))}.",
        ),
        machine=this_machine(model.device),
        measurements=(),
        bars=(),
        tables=(
            Table(
                title="Beside the walk as it is",
                columns=("what", "first segment, dB", "last segment, dB", "n"),
                rows=tuple(rows),
            ),
        ),
    )


def _ways(num_blocks: int) -> Mapping[str, Way]:
    third = max(1, num_blocks // 3)
    return {
        "2 steps": lambda model: _fast(_with_steps(model, 2), {}),
        f"later steps repeat the say of {third} of {num_blocks} blocks": lambda model: _fast(
            model, {"reused_blocks": (third, 2 * third)}
        ),
        "keys and values of the last step": lambda model: _fast(model, {"commits_last_step": True}),
    }


def _fast(model: WorldModel, changes: Mapping[str, object]) -> WorldModel:
    config = RealtimeConfig.model_validate({"compiles_decoder": False, **changes})
    return make_fast(model, config).model


def _with_steps(model: WorldModel, count: int) -> WorldModel:
    sampler = model.sampler.model_dump() | {"sigmas": model.sampler.sigmas[:count]}
    return replace(model, sampler=SamplerConfig.model_validate(sampler))


def _walks(config: OptionsBenchConfig, release: Release, model: WorldModel, seed: int) -> Frames:
    """Return the frames uint8 [walks, segments, F, H, W, 3] of every walk."""
    walks = []
    for index in range(config.num_walks):
        world = release.worlds[index % len(release.worlds)]
        session = WorldSession(
            model,
            image=world.image,
            prompt=world.prompt,
            seed=seed + 1000 * index,
            pitch_radians=world.pitch_radians,
        )
        generator = np.random.default_rng(config.seed + index)
        segments = [
            session.generate_segment(_actions(session.segment_frames, generator))
            for _ in range(config.num_segments)
        ]
        session.close()
        walks.append(np.stack(segments))
    return np.stack(walks)


def _actions(count: int, generator: np.random.Generator) -> Actions:
    """Go forward and turn, for a segment."""
    keyboard, mouse = np.zeros((count, 6), np.float32), np.zeros((count, 2), np.float32)
    keyboard[:, 0] = 1
    mouse[:, 1] = generator.choice(_TURNS)
    return Actions(keyboard, mouse)


def _row(name: str, expected: Frames, found: Frames) -> tuple[str, ...]:
    cells = [_stated(_psnr(expected[:, at], found[:, at])) for at in (0, -1)]
    return (name, *cells, str(len(expected)))


def _psnr(expected: Frames, found: Frames) -> FloatArray:
    """Return each walk's mean PSNR over a segment's frames."""
    return np.array([psnr_db(a, b).mean() for a, b in zip(found, expected, strict=True)])


def _stated(values: FloatArray) -> str:
    return f"{values.mean():.2f} +- {values.std(ddof=1) / len(values) ** 0.5:.2f}"
