"""The walks that models are judged on: worlds and maps that no training can have seen.

Procedural worlds come from the test split's seeds, beyond all that a capture can draw; ViZDoom's
from the maps that are held out by name. A case is a clip with exact poses, recorded when it is
asked for, the same bytes every time:

    palindrome  out, and back the same way (mirror, revisits of what a model made itself)
    return      the same way, of which the way out is shown (memory: what was seen is known)
    loop        a square that closes
    forward     a way that leads on (novel regions)
    still       a few steps, then a stand
    laps        there and back on one way for as long as it lasts (long walks)

It does not know models, metrics or experiments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from worldloom.config import Config
from worldloom.data.captions import captioned
from worldloom.data.schema import Clip
from worldloom.data.sources.agent import Trajectory
from worldloom.data.sources.procedural import ProceduralConfig, world_from_seed
from worldloom.data.sources.procedural import capture_clip as capture_procedural
from worldloom.data.sources.raycast import surface_depths
from worldloom.data.sources.vizdoom_config import VizdoomConfig
from worldloom.errors import DataError
from worldloom.evaluate.view_masks import Depths
from worldloom.frames import num_latent_frames

WorldName = Literal["procedural", "vizdoom"]
PathKind = Literal["palindrome", "return", "loop", "forward", "still", "laps"]

# A capture's seeds end below 1000 x 100,000 (`data.capture`), in either split.
FIRST_SEED = 500_000_000
_SEEDS_APART = 1_000
_ATTEMPTS = 40


class CasesConfig(Config):
    """Which walks, and how many of them."""

    world: WorldName = Field(description="where they are walked")
    path: PathKind = Field(description="kind of way")
    num_cases: int = Field(ge=1, le=10_000, description="walks, each in a world of its own")
    num_frames: int = Field(ge=5, description="frames of a walk, 4n+1")
    height: int = Field(64, ge=16, description="frame height, pixels")
    width: int = Field(64, ge=16, description="frame width, pixels")
    seed: int = Field(0, ge=0, lt=40, description="another seed, other worlds or places")

    @property
    def place(self) -> tuple[str, str]:
        """The world's name and the kind of way."""
        return self.world, self.path

    @field_validator("num_frames")
    @classmethod
    def _is_causal_length(cls, value: int) -> int:
        num_latent_frames(value)
        return value

    @property
    def trajectory(self) -> Trajectory:
        """How the camera goes: a return differs from a palindrome in what a model is shown."""
        return "palindrome" if self.path == "return" else self.path

    @property
    def procedural(self) -> ProceduralConfig:
        """The procedural world's settings."""
        return ProceduralConfig(height=self.height, width=self.width)

    @property
    def vizdoom(self) -> VizdoomConfig:
        """Freedoom's settings."""
        return VizdoomConfig(height=self.height, width=self.width)


def record_cases(config: CasesConfig) -> list[Clip]:
    """Return the walks, in order; raises `DataError` when a map allows none of this kind."""
    return [record_case(config, index) for index in range(config.num_cases)]


def record_case(config: CasesConfig, index: int) -> Clip:
    """Return one walk, captioned; raises `DataError` when a map allows none of this kind."""
    return captioned(_record(config, index))


def _record(config: CasesConfig, index: int) -> Clip:
    first = FIRST_SEED + (config.seed * 10_000 + index) * _SEEDS_APART
    if config.world == "procedural":
        return capture_procedural(
            config.procedural,
            seed=first,
            split="test",
            num_frames=config.num_frames,
            trajectory=config.trajectory,
        )
    return _record_in_doom(config, index, first)


def case_depths(clip: Clip) -> Depths | None:
    """Return the depth of every pixel of a walk, metres; None where a world tells none."""
    if clip.source != "procedural":
        return None
    height, width = clip.frames.shape[1:3]
    poses = clip.poses_c2w.astype(float)
    return surface_depths(world_from_seed(int(clip.world)), poses, clip.intrinsics, height, width)


def _record_in_doom(config: CasesConfig, index: int, first_seed: int) -> Clip:
    """Record on the map whose turn it is, from the first place that allows such a walk."""
    from worldloom.data.sources.vizdoom import DoomEngine, capture_clip

    maps: Sequence[str] = config.vizdoom.test_maps
    name = maps[index % len(maps)]
    with DoomEngine(config.vizdoom) as engine:
        for seed in range(first_seed, first_seed + _ATTEMPTS):
            clip = capture_clip(
                config.vizdoom,
                map_name=name,
                seed=seed,
                split="test",
                num_frames=config.num_frames,
                trajectory=config.trajectory,
                engine=engine,
            )
            if clip.trajectory == config.trajectory:
                return clip
    message = f"map {name!r}: no {config.path} of {config.num_frames} frames in {_ATTEMPTS} tries"
    raise DataError(message)
