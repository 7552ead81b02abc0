"""What a capture actor gives back, without Ray around it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from worldloom.data.capture import CaptureConfig, Capturer, CaptureTask, SourceCounts, plan
from worldloom.data.ray_capture import CaptureWorker, result_of
from worldloom.data.sources.procedural import ProceduralConfig
from worldloom.data.sources.vizdoom_config import VizdoomConfig
from worldloom.errors import DataError, ServingError

CONFIG = CaptureConfig(
    num_frames=9,
    procedural_clips=SourceCounts(train=1, test=1),
    vizdoom_clips=SourceCounts(train=1, test=0),
    procedural=ProceduralConfig(supersample=1),
    vizdoom=VizdoomConfig(train_maps=("MAP77",)),
)


def _rows(tasks: list[CaptureTask]) -> list[dict[str, object]]:
    """Send tasks through an actor's body as Ray does: columns in, columns out."""
    columns = {name: np.array([asdict(t)[name] for t in tasks]) for name in asdict(tasks[0])}
    results = CaptureWorker(CONFIG.model_dump_json())(columns)
    return [
        dict(zip(results, values, strict=True)) for values in zip(*results.values(), strict=True)
    ]


def test_results_are_those_of_plain_capture() -> None:
    tasks = [task for task in plan(CONFIG) if task.source == "procedural"]
    with Capturer(CONFIG) as capturer:
        assert [result_of(row) for row in _rows(tasks)] == [capturer.capture(t) for t in tasks]


def test_an_error_in_an_actor_is_raised_where_results_arrive() -> None:
    tasks = [task for task in plan(CONFIG) if task.source == "vizdoom"]
    (row,) = _rows(tasks)
    with pytest.raises(DataError, match="map 'MAP77': expected one of MAP01"):
        result_of(row)
    with pytest.raises(ServingError, match="nobody answers"):
        result_of(row | {"error": "ServingError", "message": "nobody answers"})
