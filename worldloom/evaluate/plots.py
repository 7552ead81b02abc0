"""Plots of a report as PNG files, the same bytes for the same report.

It does not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from worldloom.evaluate.report import PLOT_FILES, ControlTrace, EvaluationReport

MODEL_COLOUR, TRUTH_COLOUR, ASKED_COLOUR = "#c2570c", "#2563a8", "#8a8a8a"
_DOTS_PER_INCH = 110


def write_plots(folder: Path, report: EvaluationReport) -> None:
    """Write the plots of a report into a folder."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        drawn = (_psnr(report), _control(report.traces), _figures(report))
    for name, figure in zip(PLOT_FILES, drawn, strict=True):
        figure.savefig(folder / name, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _psnr(report: EvaluationReport) -> Figure:
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for clip in report.clips:
        axes.plot(clip.segment_psnr_db, color=MODEL_COLOUR, alpha=0.35, linewidth=1)
    longest = max(len(clip.segment_psnr_db) for clip in report.clips)
    means = []
    for index in range(longest):
        values = [c.segment_psnr_db[index] for c in report.clips if index < len(c.segment_psnr_db)]
        means.append(sum(values) / len(values))
    axes.plot(means, color=MODEL_COLOUR, linewidth=2.5, label="model, mean over clips")
    copy = report.figures["copy_last_frame_psnr_db"].mean
    axes.axhline(copy, color=ASKED_COLOUR, linestyle="--", label="copying the last frame")
    axes.set(xlabel="segment", ylabel="PSNR, dB", title="Against the recording")
    axes.legend(frameon=False)
    return figure


def _control(traces: Sequence[ControlTrace]) -> Figure:
    figure = Figure(figsize=(6.4, 1.0 + 2.2 * max(1, len(traces))), layout="constrained")
    for index, trace in enumerate(traces):
        axes = figure.add_subplot(len(traces), 1, index + 1)
        axes.plot(trace.frames, trace.asked, "_", color=ASKED_COLOUR, markersize=9, label="asked")
        axes.plot(
            trace.frames, trace.ground_truth, ".", color=TRUTH_COLOUR, label="seen, recording"
        )
        axes.plot(trace.frames, trace.model, ".", color=MODEL_COLOUR, label="seen, model")
        axes.axhline(0, color=ASKED_COLOUR, linewidth=0.5)
        axes.set(xlabel="frame", ylabel="degrees a frame", title=trace.clip_id)
        axes.legend(frameon=False, ncols=3)
    return figure


def _figures(report: EvaluationReport) -> Figure:
    figure = Figure(figsize=(6.4, 0.5 + 0.42 * len(report.figures)), layout="constrained")
    for index, (name, value) in enumerate(report.figures.items()):
        axes = figure.add_subplot(len(report.figures), 1, index + 1)
        axes.plot((value.low, value.high), (0, 0), color=MODEL_COLOUR, linewidth=3, alpha=0.4)
        axes.plot(value.mean, 0, "o", color=MODEL_COLOUR)
        axes.set_yticks([0], [f"{name}  {value.mean:.3g} {value.unit}".rstrip()])
        axes.tick_params(axis="x", labelsize=6)
        axes.spines["left"].set_visible(False)
    return figure
