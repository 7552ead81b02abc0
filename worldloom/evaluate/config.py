"""Settings of the evaluation, apart from the code that needs torch.

It knows what is measured on which clips; the bars stand in `gates.py`.
"""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config
from worldloom.evaluate.interval import BootstrapConfig


class PerceptualConfig(Config):
    """The random net that the perceptual distance looks through."""

    seed: int = Field(1234, ge=0, description="seed of the net's weights")
    channels: tuple[int, ...] = Field(
        (16, 32, 64), min_length=1, description="channels of each stage"
    )


class RevisitConfig(Config):
    """What counts as coming back to a place."""

    window_frames: int = Field(24, ge=1, description="least age of the earlier visit, frames")
    distance_metres: float = Field(0.5, gt=0, description="largest distance between positions")
    angle_degrees: float = Field(8.0, gt=0, description="largest angle between views, degrees")


class YawEstimatorConfig(Config):
    """How the turn between two images is searched for."""

    max_degrees: float = Field(32.0, gt=0, lt=45, description="largest candidate yaw, degrees")
    step_degrees: float = Field(2.0, gt=0, description="spacing of the candidates, degrees")
    travel_over_depth: tuple[float, ...] = Field(
        (0.06, 0.12, 0.2, 0.3, 0.45, 0.7),
        description="candidate distances walked between the images, as a share of a block's depth",
    )
    columns: int = Field(32, ge=16, description="width at which images are compared, pixels")
    block_pixels: int = Field(16, ge=4, description="side of a compared block at that width")
    blur_pixels: float = Field(1.0, gt=0, description="Gaussian blur before, image pixels")
    unseen_correlation: float = Field(
        0.4, ge=-1, le=1, description="what a block outside the overlap counts as"
    )


class TurningConfig(Config):
    """Which pairs of frames count as turning."""

    frame_gap: int = Field(4, ge=1, description="frames between the two images of a pair")
    min_degrees_per_frame: float = Field(
        1.5, gt=0, description="least mean turn within a pair, degrees a frame"
    )
    estimator: YawEstimatorConfig = Field(
        YawEstimatorConfig(), description="how yaw is read from two images"
    )


class SuiteConfig(Config):
    """What a release is put through."""

    clips_per_source: int = Field(4, ge=1, description="held-out clips of each source")
    max_segments: int = Field(8, ge=1, description="longest rollout, segments")
    divergence_segments: int = Field(
        2, ge=1, description="length of the rollouts that only turn, segments"
    )
    divergence_yaw_units: float = Field(
        0.15, gt=0, le=1, description="yaw of those rollouts, mouse units a frame"
    )
    seed: int = Field(7, ge=0, description="seed that every rollout's noise follows from")
    turning: TurningConfig = Field(TurningConfig(), description="how obedience is measured")
    revisit: RevisitConfig = Field(RevisitConfig(), description="how memory is measured")
    perceptual: PerceptualConfig = Field(PerceptualConfig(), description="the perceptual distance")
    bootstrap: BootstrapConfig = Field(BootstrapConfig(), description="how intervals are drawn")
