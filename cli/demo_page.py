"""The demo's page: what the library's page builder is given of a run.

It draws nothing itself; `worldloom.evaluate.report_page` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from worldloom.config import JsonValue

if TYPE_CHECKING:
    from cli.demo_walk import RecordedWalk
    from worldloom.evaluate.page_sections import Curve
    from worldloom.evaluate.report import EvaluationReport

Frames = NDArray[np.uint8]

_STRIP_COLUMNS = 9
_CELL_PIXELS = 160
_CAPTION = (
    "Left: frames that the server sent for recorded actions, a stream a walk. Right: what the "
    "engine recorded for the same actions, above in a procedural world and below in a map of "
    "Freedoom, neither seen in training. The second half retraces the first. In Freedoom the "
    "player slides along walls and glides to a stop, which actions do not tell."
)
# (artifact, title, unit on the y axis, the value of a history row that is drawn)
_CURVES = (
    ("base", "Base model, fine-tuned on this run's clips", "flow-matching loss", "loss"),
    ("student", "Student, distilled", "squared error of a segment", "regression_loss"),
    ("student", "Critic of the student", "flow-matching loss", "critic_loss"),
)


def build_page(
    summary: Mapping[str, JsonValue],
    report: EvaluationReport,
    walks: Sequence[RecordedWalk],
    served: Sequence[Frames],
    told: Mapping[str, Frames],
    film_file: Path,
    metrics: Mapping[str, Path],
) -> str:
    """Return the page of a run.

    Args:
        summary: the demo's summary.
        report: the evaluation of this run's release.
        walks: the recorded walks; the turns of the first are drawn.
        served: the frames that the server sent for each, as many as were recorded.
        told: the frames that the server sent for each command from the same start.
        film_file: all walks beside their recordings, MP4.
        metrics: a `metrics.json` for each trained artifact.
    """
    from worldloom.evaluate.config import TurningConfig
    from worldloom.evaluate.presentation import trace_turn
    from worldloom.evaluate.report_page import PageMedia, Strip, build_report_page

    def strip(title: str, frames: Frames) -> Strip:
        return Strip(title, sheet_of([(title, frames)]))

    media = PageMedia(
        film=film_file.read_bytes(),
        film_caption=_CAPTION,
        strips=[
            strip(f"{walk.name}, {label}", film)
            for walk, frames in zip(walks, served, strict=True)
            for label, film in (("served", frames), ("recorded", walk.clip.frames))
        ]
        + [strip(f"{walks[-1].name}, told to {name}", frames) for name, frames in told.items()],
        curves=_curves(metrics),
        walk_trace=trace_turn(walks[0].clip, served[0], TurningConfig()),
    )
    return build_report_page(summary, report, media)


def sheet_of(rows: Sequence[tuple[str, Frames]]) -> Frames:
    """Return a contact sheet whose cells are about as wide whatever the frames' size."""
    from worldloom.evaluate.film import contact_sheet

    factor = enlargement(rows[0][1], _CELL_PIXELS)
    return contact_sheet(rows, columns=_STRIP_COLUMNS, factor=factor)


def enlargement(frames: Frames, width_pixels: int) -> int:
    """Return how many times frames may be enlarged and be no wider than this; once at least."""
    return max(1, width_pixels // frames.shape[2])


def _curves(metrics: Mapping[str, Path]) -> list[Curve]:
    from worldloom.evaluate.page_charts import Chart, Series
    from worldloom.evaluate.page_sections import Curve

    curves = []
    for artifact, title, y_label, key in _CURVES:
        history = json.loads(metrics[artifact].read_text())["history"]
        points = _points(history, key)
        curves.append(Curve(title, Chart((Series(y_label, points),), "step", y_label)))
    return curves


def _points(history: Sequence[Mapping[str, float]], key: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(index + 1), float(row[key])) for index, row in enumerate(history))
