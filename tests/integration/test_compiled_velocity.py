"""The whole velocity as one graph of the compiler's, with its own gradient."""

from __future__ import annotations

import torch
from velocity_gradients import loss_and_gradients, network

from worldloom.train.velocity import compiled, predict_velocity


def test_the_compilers_graph_gives_the_eager_loss_and_gradients() -> None:
    """`aot_eager` leaves out minutes of fusing."""
    eager = loss_and_gradients(network(), predict_velocity)
    found = loss_and_gradients(network(), compiled("default", backend="aot_eager"))
    assert len(found) == len(eager)
    for value, expected in zip(found, eager, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5)
