"""What the training loop asks of the thing that is trained.

`Objective` is enough. The others are what an objective may do beside: keep tensors of its own, let
its batches be drawn ahead, say what it is and costs. It holds protocols alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from worldloom.config import JsonValue


class Objective(Protocol):
    """What is trained, and by which loss."""

    @property
    def module(self) -> nn.Module:
        """The module whose parameters are updated."""

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the scalar loss of a step and values worth logging; draw from `generator`."""

    def evaluate(self) -> Mapping[str, float]:
        """Return held-out values of the module as it stands; no draw may differ between calls."""


@runtime_checkable
class StatefulObjective(Protocol):
    """An objective whose draws or loss depend on tensors of its own."""

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold beside the module."""

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore `state_tensors`."""


@runtime_checkable
class DrawsAhead(Protocol):
    """An objective whose batches hang on nothing that training changes.

    `loss(step, generator)` is `loss_of(draw(step, generator), step, generator)`.
    """

    def draw(self, step: int, generator: torch.Generator) -> Any:  # noqa: ANN401 - its own type
        """Return a step's batch; called from another thread, before the step before has ended."""

    def loss_of(
        self,
        batch: Any,  # noqa: ANN401 - what `draw` returned
        step: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of a batch and values worth logging."""

    def names(self, batch: Any) -> Sequence[str]:  # noqa: ANN401 - what `draw` returned
        """Return what the batch was made of, for whoever looks for a bad clip."""


@runtime_checkable
class Described(Protocol):
    """An objective that says what it is and what a step of it costs."""

    def settings(self) -> Mapping[str, JsonValue]:
        """Return what makes a run of it another run: settings, and the data's identity."""

    @property
    def samples_per_step(self) -> int:
        """Samples of a step, over all processes."""

    @property
    def flops_per_step(self) -> float:
        """Operations of a step's forward and backward on this process; 0 where not counted."""
