"""Rollouts of the model being trained, kept for some steps as the history of a few clips.

Which clips they are follows from a seed and the step, so batches can be drawn ahead. The latents
that were made are part of a checkpoint, since they hang on the weights of the step that made them.
It does not know losses.

Letters: K clips that are rolled out, L latents, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldloom.errors import TrainingError
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import ClipBatch
from worldloom.train.flow_config import SelfCorrectionConfig
from worldloom.train.run_control import step_generator
from worldloom.train.self_rollout import roll_out

_LATENTS = "own_rollouts.latents"


class OwnRollouts:
    """The latest rollouts, and which clips they are of."""

    def __init__(self, config: SelfCorrectionConfig) -> None:
        """Hold nothing yet."""
        self.config = config
        self.latents: Tensor | None = None  # [K, L, C, H, W]

    def clips(self, step: int, num_clips: int) -> Int[Tensor, " K"]:
        """Return which clips are rolled out for a step."""
        shape = (self.config.rollout_clips,)
        return torch.randint(0, num_clips, shape, generator=self._generator(step))

    def history(
        self,
        step: int,
        transformer: WorldModelTransformer,
        conditioner: Conditioner,
        batch: ClipBatch,
    ) -> Float[Tensor, "K L C H W"]:
        """Return the clips' latents as the model makes them, made anew when it is time."""
        if self.latents is None or step % self.config.rollout_every_steps == 0:
            generator = self._generator(step)
            generator.manual_seed(generator.initial_seed() ^ 1)  # the clips' draw was another
            segments = range(batch.context_indices.shape[1])
            made = roll_out(
                transformer, conditioner, batch, segments, self.config.rollout_sampler, generator
            )
            self.latents = made.float()
        return self.latents

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""
        return {} if self.latents is None else {_LATENTS: self.latents}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore `state_tensors`; raises `TrainingError` for those of another run."""
        found = tensors.get(_LATENTS)
        if found is not None and len(found) != self.config.rollout_clips:
            message = (
                f"checkpoint tensor {_LATENTS}: {len(found)} clips, expected "
                f"{self.config.rollout_clips}"
            )
            raise TrainingError(message)
        self.latents = found

    def _generator(self, step: int) -> torch.Generator:
        every = self.config.rollout_every_steps
        return step_generator(self.config.rollout_seed, step - step % every)
