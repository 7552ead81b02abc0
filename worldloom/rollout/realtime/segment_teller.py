"""What a segment is told, worked out once for all of its denoising steps.

Camera scales and shifts of every block, what actions say, rotations; and what the prompt says, for
as long as it stays the same. Shapes are captured as graphs when they are first seen, so what is
told holds until the next segment of its shape. It does not know latents or noise levels.

Letters: B samples, T latents, P places of a latent, L = T P tokens, K coordinates, W window frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.model.block import BlockPlan, SegmentPlan
from worldloom.model.rope import Rotation
from worldloom.model.transformer import PreparedSegment, SegmentConditions, WorldModelTransformer
from worldloom.rollout.realtime.action_pass import ToldActions
from worldloom.rollout.realtime.block_pass import BlockPass
from worldloom.rollout.realtime.camera_pass import CameraPass
from worldloom.rollout.realtime.captured import Captured, GraphMemory
from worldloom.rollout.realtime.rows import Residual, Update, update
from worldloom.rollout.realtime.told_prompts import ToldPrompts
from worldloom.rollout.realtime.ulysses import PlaceShare

Shape = tuple[int, int, int]  # samples, latents, of them memory
_Told = tuple[list[tuple[Tensor, Tensor]], list[ToldActions | None], Rotation]


@dataclass
class FastSegment(PreparedSegment):
    """A segment's conditions, with what its actions say worked out."""

    actions: list[ToldActions | None]
    shape: Shape
    is_stepped: bool = False  # whether a denoising step was taken on it


class SegmentTeller:
    """Works out what segments are told."""

    def __init__(
        self,
        network: WorldModelTransformer,
        blocks: Sequence[BlockPass],
        graph_memory: GraphMemory,
        share: PlaceShare | None,
    ) -> None:
        """Take a network's layers.

        Args:
            network: whose.
            blocks: its blocks' passes.
            graph_memory: where graphs work.
            share: of the tokens, where several processes run the network together.
        """
        self._network = network
        self._blocks = blocks
        self._cameras = [CameraPass(its.block.camera) for its in blocks]
        self._prompts = ToldPrompts(network)
        self._graph_memory = graph_memory
        self._share = share
        self._captured: dict[Shape, Captured[_Told]] = {}

    def told(self, conditions: SegmentConditions) -> FastSegment:
        """Return what a segment is told; it holds until the next of its shape."""
        num_memory = conditions.num_memory
        shape = (*conditions.rays.shape[:2], num_memory)
        if shape not in self._captured:
            self._captured[shape] = Captured(
                lambda *told: self._tell(*told, num_memory=num_memory), self._graph_memory
            )
        keyboard, mouse = conditions.keyboard, conditions.mouse
        cameras, actions, rotation = self._captured[shape](
            conditions.rays, conditions.coordinates, keyboard, mouse
        )
        prompts = self._prompts.told(conditions.prompt)
        return FastSegment(
            segment=SegmentPlan(rotation, keyboard, mouse, num_memory),
            blocks=[
                BlockPlan(*camera, prompt) for camera, prompt in zip(cameras, prompts, strict=True)
            ],
            actions=actions,
            shape=shape,
        )

    def rotation(self, coordinates: Float[Tensor, "B L K"]) -> Rotation:
        """Return cosines and sines, in half precision where tokens are in bfloat16.

        Angles are exact; a cosine's eleven bits are more than the eight of what it turns, and the
        tables are as much to read as the tokens.
        """
        cosine, sine = self._network.rope(coordinates)
        if self._network.dtype != torch.bfloat16:
            return cosine, sine
        return cosine.half(), sine.half()

    def _tell(
        self, rays: Tensor, coordinates: Tensor, keyboard: Tensor, mouse: Tensor, *, num_memory: int
    ) -> _Told:
        """Work out what poses and actions say to every block."""
        network = self._network
        dtype, batch = network.dtype, len(rays)
        if self._share is not None:
            rays = self._share.of_places(rays)
            by_place = coordinates.unflatten(1, (mouse.shape[1], -1))
            coordinates = self._share.of_places(by_place).flatten(1, 2)
        rays_RE = network.ray_embed(rays.flatten(1, 2).to(dtype)).flatten(0, 1)
        rows = update(Residual(rays_RE), Update(), self._cameras[0].row_format)[1]
        cameras = [camera(rays_RE, rows) for camera in self._cameras]
        told = [
            None
            if block.actions is None
            else block.actions.tell(keyboard.to(dtype), mouse.to(dtype), num_memory)
            for block in self._blocks
        ]
        by_sample = [(a.unflatten(0, (batch, -1)), b.unflatten(0, (batch, -1))) for a, b in cameras]
        return by_sample, told, self.rotation(coordinates)
