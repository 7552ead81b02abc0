"""Task `evaluate`: a release on held-out clips, judged against the champion or fixed bars.

A gate that refuses is no failure of the step: the verdict and its reasons are the output.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.evaluation.config import EvaluateStepConfig
from components.runtime import Step
from worldloom.data.clips import read_clips
from worldloom.evaluate.gates import Verdict, already_champion, judge
from worldloom.evaluate.latency import summarise_seconds
from worldloom.evaluate.parity_report import read_parity
from worldloom.evaluate.plots import write_plots
from worldloom.evaluate.presentation import (
    first_of_each_source,
    trace_turn,
    write_contact_sheet,
    write_film,
)
from worldloom.evaluate.report import (
    CONTACT_SHEET_FILE,
    FILM_FILE,
    PLOT_FILES,
    REPORT_FILE,
    EvaluationReport,
    Judged,
    build_report,
    write_report,
)
from worldloom.evaluate.results import ClipResult
from worldloom.evaluate.suite import Rollout, Suite, choose_clips
from worldloom.log import log_event
from worldloom.rollout.release import load_release
from worldloom.train.trainer import deterministic_arithmetic

if TYPE_CHECKING:
    from components.runtime import StepContext
    from worldloom.data.schema import Clip

logger = logging.getLogger(__name__)

STEP = Step(
    name="evaluate",
    config=EvaluateStepConfig,
    parents=("release", "clips", "champion"),
    outputs=("report", "verdict"),
)


def run(context: StepContext[EvaluateStepConfig]) -> Mapping[str, str]:
    """Walk the clips, judge, and store the report."""
    suite = Suite(context.config.suite)
    with deterministic_arithmetic(enabled=True, num_threads=context.config.num_threads):
        rollouts, champion = _rollouts(context, suite)
        report = _report(context, rollouts, champion)
        folder = context.fresh_folder("report")
        write_report(folder, report)
        write_plots(folder, report)
        write_film(folder, first_of_each_source(rollouts))
        write_contact_sheet(folder, rollouts)
    _track(context, report, folder, suite.segment_seconds)
    log_event(logger, "release_judged", verdict=report.verdict, reasons=report.reasons)
    return {
        "report": context.commit(folder, "evaluation-report"),
        "verdict": report.verdict,
    }


def _rollouts(
    context: StepContext[EvaluateStepConfig], suite: Suite
) -> tuple[list[Rollout], list[ClipResult]]:
    """Return the release's rollouts and the champion's results on the same clips."""
    release = load_release(context.folder("release"))
    clips = choose_clips(
        read_clips(context.folder("clips"), "test"), suite.config, release.frames_per_segment
    )
    rollouts = suite.run(release, clips, context.scratch / "release", _on_clip("release", clips))
    if context.parents["champion"] in ("", context.parents["release"]):
        return rollouts, []
    champion = load_release(context.folder("champion"))
    others = Suite(suite.config).run(
        champion, clips, context.scratch / "champion", _on_clip("champion", clips)
    )
    return rollouts, [rollout.result for rollout in others]


def _judge(
    context: StepContext[EvaluateStepConfig],
    results: Sequence[ClipResult],
    champion: Sequence[ClipResult],
) -> Verdict:
    release = context.parents["release"]
    if context.parents["champion"] == release:
        return already_champion(release)
    return judge(
        results,
        champion if context.parents["champion"] else None,
        read_parity(context.folder("release")),
        gate=context.config.gate,
        bootstrap=context.config.suite.bootstrap,
    )


def _report(
    context: StepContext[EvaluateStepConfig],
    rollouts: Sequence[Rollout],
    champion: Sequence[ClipResult],
) -> EvaluationReport:
    results = [rollout.result for rollout in rollouts]
    shown = first_of_each_source(rollouts)
    return build_report(
        _judge(context, results, champion),
        judged=Judged(*(context.parents[role] for role in ("release", "clips", "champion"))),
        results=results,
        champion_results=champion,
        parity=read_parity(context.folder("release")),
        bootstrap=context.config.suite.bootstrap,
        traces=[trace_turn(r.clip, r.frames, context.config.suite.turning) for r in shown],
    )


def _on_clip(role: str, clips: Sequence[Clip]) -> Callable[[int, ClipResult], None]:
    """Return a listener that writes one line for each clip that is done."""

    def tell(index: int, result: ClipResult) -> None:
        log_event(
            logger,
            "clip_evaluated",
            role=role,
            clip_id=result.clip_id,
            num_done=index + 1,
            num_clips=len(clips),
            psnr_db=round(result.psnr_db, 2),
        )

    return tell


def _track(
    context: StepContext[EvaluateStepConfig],
    report: EvaluationReport,
    folder: Path,
    segment_seconds: Sequence[float],
) -> None:
    """Tell the tracker what was found; times go there alone."""
    means = {f"evaluation/{name}": figure.mean for name, figure in report.figures.items()}
    if len(segment_seconds) > 1:
        times = summarise_seconds(segment_seconds, num_warmup=1)
        means["evaluation/segment_seconds_p50"] = times.p50_seconds
        means["evaluation/segment_seconds_p95"] = times.p95_seconds
    context.tracker.log_metrics(means, 0)
    context.tracker.log_params({"verdict": report.verdict})
    for name in (REPORT_FILE, FILM_FILE, CONTACT_SHEET_FILE, *PLOT_FILES):
        context.tracker.log_file(folder / name, "evaluation")
