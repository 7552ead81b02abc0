"""The README's table of figures, filled from what `make demo` measured.

`python -m cli.figures SUMMARY [AGAIN]` keeps the figures of a demo's `summary.json`, and of the
next one with nothing changed, in `docs/results/demo.json`; without arguments it only writes the
README's table from that file. Machine-specific text of a summary, such as paths, is left behind. It
measures nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldloom.config import JsonValue
from worldloom.errors import DataError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "demo.json"
README = ROOT / "README.md"
START = "<!-- figures: made by python -m cli.figures -->"
END = "<!-- end of figures -->"
_DEMO = "`make demo`"
_AGAIN = "`make demo`, a second time"
_EVALUATE = "`worldloom pipeline run`, task `evaluate`"


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        label: what it is.
        path: where it stands in the results, by dots.
        form: how it is written; its one field is the value.
        command: what prints it.
    """

    label: str
    path: str
    form: str
    command: str


FIGURES = (
    Figure("whole path, environment in place", "first.total_seconds", "{:.0f} s", _DEMO),
    Figure("whole path, nothing changed", "again.total_seconds", "{:.0f} s", _AGAIN),
    Figure("of which the pipeline", "again.pipeline_seconds", "{:.1f} s", _AGAIN),
    Figure("action sent to first frame", "first.first_frame_seconds", "{:.2f} s", _DEMO),
    Figure("frames received", "first.frames_per_second", "{:.1f} frames/s", _DEMO),
    Figure(
        "sign of yaw right, unseen worlds", "first.control.yaw_sign_accuracy", "{:.1%}", _EVALUATE
    ),
    Figure(
        "the same on the recordings",
        "first.control.yaw_sign_accuracy_ground_truth",
        "{:.1%}",
        _EVALUATE,
    ),
    Figure(
        "left against right turns",
        "first.control.left_right_divergence",
        "{:.1f} levels",
        _EVALUATE,
    ),
    Figure("two noise seeds", "first.control.noise_divergence", "{:.1f} levels", _EVALUATE),
    Figure("PSNR, unseen worlds", "first.metrics.psnr_db", "{:.2f} dB", _EVALUATE),
    Figure(
        "PSNR of copying the last frame",
        "first.metrics.copy_last_frame_psnr_db",
        "{:.2f} dB",
        _EVALUATE,
    ),
    Figure("PSNR on coming back", "first.metrics.revisit_psnr_db", "{:.2f} dB", _EVALUATE),
    Figure(
        "sharpness against the recordings", "first.metrics.sharpness_ratio", "{:.0%}", _EVALUATE
    ),
    Figure(
        "held-out loss of the base model before fine-tuning",
        "first.training.base.held_out_loss_before",
        "{:.4f}",
        _DEMO,
    ),
    Figure(
        "the same after it",
        "first.training.base.held_out_loss_after",
        "{:.4f}",
        _DEMO,
    ),
    Figure(
        "rollout error of the student before distillation",
        "first.training.student.rollout_error_before",
        "{:.4f}",
        _DEMO,
    ),
    Figure(
        "the same after that",
        "first.training.student.rollout_error_after",
        "{:.4f}",
        _DEMO,
    ),
    Figure("PSNR of the procedural walk", "first.walks.procedural.psnr_db", "{:.2f} dB", _DEMO),
    Figure("PSNR of the Freedoom walk", "first.walks.freedoom.psnr_db", "{:.2f} dB", _DEMO),
)
_KEPT = (
    "machine",
    "total_seconds",
    "pipeline_seconds",
    "frames",
    "first_frame_seconds",
    "frames_per_second",
    "control",
    "metrics",
    "training",
    "walks",
)


def kept_figures(summary: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what the results keep of a demo's summary.

    Raises:
        DataError: when it is no summary of a demo.
    """
    if not all(name in summary for name in _KEPT):
        message = f"not a demo's summary, expected the keys {', '.join(_KEPT)}"
        raise DataError(message)
    return {name: summary[name] for name in _KEPT}


def table_text(results: Mapping[str, JsonValue]) -> str:
    """Return the table of the figures that are there."""
    rows = ["| figure | value | command |", "| --- | --- | --- |"]
    for figure in FIGURES:
        value = _at(results, figure.path)
        if isinstance(value, int | float):
            rows.append(f"| {figure.label} | {figure.form.format(value)} | {figure.command} |")
    machine = _at(results, "first.machine")
    return "\n".join([*rows, "", f"Measured on: {_machine_text(machine)}."])


def between(text: str, table: str, *, start: str = START, end: str = END) -> str:
    """Return a page's text with a table between two markers.

    Raises:
        DataError: when the markers are not there.
    """
    first, last = text.find(start), text.find(end)
    if not 0 <= first < last:
        message = f"the page lacks {start!r} before {end!r}"
        raise DataError(message)
    return f"{text[: first + len(start)]}\n\n{table}\n\n{text[last:]}"


def main(arguments: Sequence[str]) -> None:
    """Keep the figures of the summaries that are named, and write the README's table."""
    if arguments:
        names = ("first", "again")
        pairs = zip(names, arguments, strict=False)
        kept: dict[str, JsonValue] = {
            name: kept_figures(json.loads(Path(path).read_text())) for name, path in pairs
        }
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    results = json.loads(RESULTS.read_text())
    text = between(README.read_text(encoding="utf-8"), table_text(results))
    README.write_text(text, encoding="utf-8")


def _at(results: Mapping[str, JsonValue], path: str) -> JsonValue:
    value: JsonValue = dict(results)
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _machine_text(machine: JsonValue) -> str:
    if isinstance(machine, dict):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    return str(machine)


if __name__ == "__main__":
    main(sys.argv[1:])
