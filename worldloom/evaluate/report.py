"""The evaluation report: verdict, figures with their intervals, and a table of clips.

`report.json` holds no times and no machine, so that the same release on the same clips gives the
same bytes. It does not know how anything was measured or drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from worldloom.config import Config, load_config
from worldloom.errors import ArtifactError
from worldloom.evaluate.gates import Bar, Verdict
from worldloom.evaluate.interval import BootstrapConfig, Interval
from worldloom.evaluate.parity_report import ParityReport
from worldloom.evaluate.results import FIGURES, ClipResult, compare, summarise

REPORT_FILE = "report.json"
FILM_FILE = "side_by_side.mp4"
CONTACT_SHEET_FILE = "contact_sheet.png"
PLOT_FILES = ("psnr.png", "control.png", "figures.png")
_CONTROL = (
    "yaw_sign_accuracy",
    "yaw_sign_accuracy_ground_truth",
    "left_right_divergence",
    "noise_divergence",
)


class ReportedFigure(Interval):
    """A figure with its interval, its unit and its direction."""

    unit: str = Field(description="unit of mean, low and high")
    higher_is_better: bool | None = Field(description="direction; None where it has none")


class ControlTrace(Config):
    """Turn asked for and turn seen along one clip, degrees a frame, positive to the right."""

    clip_id: str = Field(description="the clip")
    frames: tuple[int, ...] = Field(description="the first frame of each pair")
    asked: tuple[float, ...] = Field(description="from the poses that were fed")
    model: tuple[float, ...] = Field(description="seen in the model's frames")
    ground_truth: tuple[float, ...] = Field(description="seen in the recording")


class EvaluationReport(Config):
    """Everything the evaluation found out about one release."""

    schema_version: Literal[1] = Field(1, description="version of this file's shape")
    verdict: Literal["pass", "refuse"] = Field(description="the gate's decision")
    reasons: tuple[str, ...] = Field(description="the sentences that decided")
    bars: tuple[Bar, ...] = Field(description="every bar that was looked at")
    release: str = Field(description="digest of the release")
    clips_digest: str = Field(description="digest of the clips it was judged on")
    champion: str = Field("", description="digest of the champion; empty without one")
    figures: dict[str, ReportedFigure] = Field(description="the release's figures over clips")
    champion_figures: dict[str, Interval] = Field({}, description="the champion's figures")
    differences: dict[str, Interval] = Field(
        {}, description="release minus champion over paired rollouts"
    )
    parity: ParityReport | None = Field(None, description="the compressed model and its original")
    clips: tuple[ClipResult, ...] = Field(description="the release clip by clip")
    champion_clips: tuple[ClipResult, ...] = Field((), description="the champion clip by clip")
    traces: tuple[ControlTrace, ...] = Field((), description="turn asked and seen")
    filmed: tuple[str, ...] = Field((), description="the clips in the film, in order: those traced")

    def control(self) -> dict[str, float]:
        """Return the figures on obedience, as far as they have a value."""
        return {name: self.figures[name].mean for name in _CONTROL if name in self.figures}

    def metrics(self) -> dict[str, float]:
        """Return the mean of every other figure that has one."""
        return {name: f.mean for name, f in self.figures.items() if name not in _CONTROL}


@dataclass(frozen=True)
class Judged:
    """Digests of what was judged, on what, and against what."""

    release: str
    clips: str
    champion: str


def build_report(
    verdict: Verdict,
    *,
    judged: Judged,
    results: Sequence[ClipResult],
    champion_results: Sequence[ClipResult],
    parity: ParityReport | None,
    bootstrap: BootstrapConfig,
    traces: Sequence[ControlTrace] = (),
) -> EvaluationReport:
    """Return the report on a release's results."""
    figures = {
        name: ReportedFigure(
            **interval.model_dump(),
            unit=FIGURES[name].unit,
            higher_is_better=FIGURES[name].higher_is_better,
        )
        for name, interval in summarise(results, bootstrap).items()
    }
    differences: Mapping[str, Interval] = {}
    if champion_results:
        differences = compare(results, champion_results, bootstrap)
    return EvaluationReport(
        verdict=verdict.verdict,
        reasons=verdict.reasons,
        bars=verdict.bars,
        release=judged.release,
        clips_digest=judged.clips,
        champion=judged.champion,
        figures=figures,
        champion_figures=summarise(champion_results, bootstrap),
        differences=dict(differences),
        parity=parity,
        clips=tuple(results),
        champion_clips=tuple(champion_results),
        traces=tuple(traces),
        filmed=tuple(trace.clip_id for trace in traces),
    )


def write_report(folder: Path, report: EvaluationReport) -> None:
    """Write `report.json` into a folder."""
    (folder / REPORT_FILE).write_text(report.model_dump_json(indent=1) + "\n")


def read_report(folder: Path) -> EvaluationReport:
    """Return the report in a folder.

    Raises:
        ArtifactError: when there is none.
        ConfigError: when it is of another shape.
    """
    path = folder / REPORT_FILE
    if not path.is_file():
        message = f"{path}: missing, expected an evaluation report"
        raise ArtifactError(message)
    return load_config(EvaluationReport, path.read_text(), where=REPORT_FILE)
