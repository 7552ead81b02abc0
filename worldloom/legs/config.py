"""What one leg of training is: a stage, a model, minutes, and clips made beside it."""

from __future__ import annotations

from pydantic import Field, model_validator

from worldloom.config import Config, JsonValue
from worldloom.data.capture import CaptureConfig, SourceCounts
from worldloom.legs.recipes import FLOW_RECIPES, Stage
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.train.config import Optimizer


class FeedConfig(Config):
    """Clips that other processes render while the leg trains."""

    num_workers: int = Field(
        0, ge=0, description="rendering processes; 0: one a core, but two cores for the training"
    )
    num_frames: int = Field(97, ge=5, description="frames of a clip, 4n+1")
    procedural_clips: int = Field(1200, ge=0, description="training clips of the procedural world")
    vizdoom_clips: int = Field(1200, ge=0, description="training clips of Freedoom's maps")
    held_out_clips: int = Field(
        16, ge=1, description="clips of each source's held-out worlds, the same in every leg"
    )
    first_clips: int = Field(128, ge=1, description="training clips before the first step")
    seed: int = Field(
        1, ge=1, lt=1000, description="which training clips; another leg takes another seed"
    )

    def capture(self, height: int, width: int, *, is_held_out: bool) -> CaptureConfig:
        """Return what is recorded: training clips, or those of held-out worlds."""
        size: dict[str, JsonValue] = {"height": height, "width": width}

        def counts(clips: int) -> SourceCounts:
            if is_held_out:
                return SourceCounts(train=0, test=self.held_out_clips if clips else 0)
            return SourceCounts(train=clips, test=0)

        return CaptureConfig.model_validate(
            {
                "num_frames": self.num_frames,
                "seed": 0 if is_held_out else self.seed,
                "procedural_clips": counts(self.procedural_clips),
                "vizdoom_clips": counts(self.vizdoom_clips),
                "procedural": size,
                "vizdoom": size,
            }
        )


class LegConfig(Config):
    """A leg of training on one machine."""

    stage: Stage = Field(description="which stage of training")
    preset: str = Field("freedoom", description="a stream preset with the small VAE")
    shape: tuple[str, ...] = Field((), description="path=value overrides of the preset's shape")
    vae: VAEConfig = Field(
        VAEConfig(),
        description="widths of a VAE that is trained from nothing; its channels and stride are the "
        "preset's",
    )
    minutes: float = Field(
        8.0, gt=0, description="time of training, once the first clips are there"
    )
    max_steps: int = Field(
        1_000_000, ge=1, description="steps at most; two legs of equal steps are compared by it"
    )
    batch: int = Field(64, ge=1, description="clips of a step; windows for the VAE")
    learning_rate: float = Field(0.0, ge=0, description="peak rate; 0: the recipe's")
    optimizer: Optimizer = Field(
        "adamw", description="of the stages actions and memory: how matrices are updated"
    )
    decay_share: float = Field(
        0.0, ge=0, le=1, description="share of the time at whose end the rate is 0; last legs: 0.3"
    )
    compiles: bool = Field(
        False, description="passes recorded as CUDA graphs on a GPU, fused kernels on a CPU"
    )
    seed: int = Field(0, ge=0, description="seed of every draw of the training")
    feed: FeedConfig = Field(FeedConfig(), description="clips made beside the training")
    objective: tuple[str, ...] = Field(
        (),
        description="path=value settings over the recipe's: of the flow objective, the VAE's or "
        "the distillation",
    )

    @model_validator(mode="after")
    def _has_its_optimizer(self) -> LegConfig:
        if self.optimizer != "adamw" and self.stage not in FLOW_RECIPES:
            message = (
                f"optimizer={self.optimizer!r} for the stage {self.stage}: expected 'adamw', or "
                f"one of the stages {', '.join(FLOW_RECIPES)}"
            )
            raise ValueError(message)
        return self
