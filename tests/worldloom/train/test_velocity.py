"""The velocity of whole clips, eager and compiled."""

from __future__ import annotations

import pytest
import torch
from velocity_gradients import loss_and_gradients, network

from worldloom.train.velocity import compile_blocks, compiled, predict_velocity


def require_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("compilation", ["default", "cuda_graphs"])
def test_one_graph_captures_the_whole_and_its_gradients_agree(compilation: str) -> None:
    """What the compiler makes of the graph is a test of its own, since it takes many seconds."""
    found = loss_and_gradients(network(), compiled(compilation, backend="eager"))
    require_close(found, loss_and_gradients(network(), predict_velocity))


def test_compiled_blocks_give_the_eager_loss_and_gradients() -> None:
    """The graphs and their gradients are the compiler's; `aot_eager` leaves out their fusing."""
    fused = network()
    compile_blocks(fused, backend="aot_eager")
    found = loss_and_gradients(fused, predict_velocity)
    require_close(found, loss_and_gradients(network(), predict_velocity))
