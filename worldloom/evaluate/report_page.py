"""One page that tells a whole run: self-contained HTML, no request to anywhere.

It takes the run's summary, the evaluation report, films and curves, and returns text. It does not
know pipelines, trackers or servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from worldloom.config import JsonValue
from worldloom.errors import DataError
from worldloom.evaluate import page_sections as parts
from worldloom.evaluate.page_sections import Curve, Strip
from worldloom.evaluate.page_style import STYLE
from worldloom.evaluate.report import ControlTrace, EvaluationReport

__all__ = ["Curve", "PageMedia", "Strip", "build_report_page"]

_MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true" fill="none" stroke-width="2.6"'
    ' stroke-linecap="round"><path class="line model" d="M3 11c5-7 8 7 13 0s8-7 13 0"/>'
    '<path class="line truth" d="M3 21c5 7 8-7 13 0s8 7 13 0"/></svg>'
)
_LINEAGE = (
    ("clips", "clips_digest"),
    ("candidate release", "candidate_digest"),
    ("evaluation report", "report_digest"),
    ("release that is served", "release_digest"),
)
_COMMANDS = (
    ("Look at every run, curve and model version", "mlflow_command"),
    ("Serve the champion again", "serve_command"),
    ("Walk through it", "play_command"),
)


@dataclass(frozen=True)
class PageMedia:
    """What is to be seen beside the figures.

    Attributes:
        film: the walk as MP4, or None.
        film_caption: what the film shows.
        strips: pictures, such as frames above their recording.
        curves: training's losses and the like.
        walk_trace: turn asked and seen along the film's walk, or None.
    """

    film: bytes | None = None
    film_caption: str = ""
    strips: Sequence[Strip] = ()
    curves: Sequence[Curve] = ()
    walk_trace: ControlTrace | None = None


def build_report_page(
    summary: Mapping[str, JsonValue],
    report: EvaluationReport,
    media: PageMedia,
    *,
    lineage: Sequence[tuple[str, str]] = (),
    commands: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the page.

    Args:
        summary: `stages`, `frames`, `first_frame_seconds`, `frames_per_second`, and where they
            are known `model_name`, `model_version`, `machine`, digests and commands.
        report: the evaluation of the run's release.
        media: films, pictures and curves.
        lineage: (role, digest) pairs; those of the summary if empty.
        commands: (what it does, command) pairs; those of the summary if empty.

    Raises:
        DataError: when the summary lacks a figure.
    """
    body = "".join(
        [
            _head(summary, report),
            _tiles(summary, report),
            _walk(media),
            _frames(media),
            _path(summary),
            _gate(report),
            _control(report, media),
            _curves(media, report),
            _lineage(summary, lineage),
            _commands(summary, commands),
            _foot(summary, report),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Worldloom: the whole path</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _head(summary: Mapping[str, JsonValue], report: EvaluationReport) -> str:
    css, word = ("good", "passed") if report.verdict == "pass" else ("bad", "refused")
    served = _text(summary, "model_name")
    version = _text(summary, "model_version")
    what = f"{served} version {version}" if served and version else "the champion"
    end = (
        f"The gate let the new release pass; {what} is being served."
        if report.verdict == "pass"
        else f"The gate refused the new release, so {what} stays."
    )
    return (
        f'<header><div class="brand">{_MARK}<span>Worldloom</span>'
        f'<span class="pill {css}">gate {word}</span></div>'
        "<h1>From a game engine to a world that answers your hands</h1>"
        f'<p class="soft">{escape(_time_told(summary))} {escape(end)}</p></header>'
    )


def _time_told(summary: Mapping[str, JsonValue]) -> str:
    rows = [row for row in _stages(summary).values() if isinstance(row, dict)]
    total = sum(s for s in (row.get("seconds") for row in rows) if isinstance(s, int | float))
    fresh = sum(row.get("reused") is not True for row in rows)
    where = _text(summary, "machine")
    told = f"{len(rows)} stages in {parts.duration(total)}"
    told += f" on {where}" if where else ""
    if fresh == len(rows):
        return f"{told}, every one of them run now."
    if fresh:
        return f"{told}: {fresh} run now, the others reused because nothing they depend on changed."
    return f"{told}: all of them reused, because nothing had changed."


def _tiles(summary: Mapping[str, JsonValue], report: EvaluationReport) -> str:
    means = {name: figure.mean for name, figure in report.figures.items()}
    first, rate = _number(summary, "first_frame_seconds"), _number(summary, "frames_per_second")
    psnr, copied = means["psnr_db"], means["copy_last_frame_psnr_db"]
    noise = means["noise_divergence"]
    found = [
        parts.tile(f"{first:.2f}", "s", "from an action sent to its first frame received"),
        parts.tile(
            f"{rate:.1f}", "frames/s", f"received; {int(_number(summary, 'frames'))} frames in all"
        ),
    ]
    if "yaw_sign_accuracy" in means:
        ceiling = means["yaw_sign_accuracy_ground_truth"]
        text = f"of turns go the way that was asked; {100 * ceiling:.0f} % read off recordings"
        found.append(parts.tile(f"{100 * means['yaw_sign_accuracy']:.0f}", "%", text))
    if noise > 0:
        ratio = means["left_right_divergence"] / noise
        text = "how much further apart left and right are than two noise seeds"
        found.append(parts.tile(f"{ratio:.1f}", "x", text))
    text = f"PSNR over copying the last frame, on unseen worlds ({psnr:.1f} against {copied:.1f})"
    found.append(parts.tile(f"{psnr - copied:+.1f}", "dB", text))
    return f'<div class="tiles">{"".join(found)}</div>'


def _walk(media: PageMedia) -> str:
    if media.film is None:
        return ""
    text = "Recorded actions, played to the running server in a world that training never saw."
    return parts.section("The walk", text, parts.film(media.film, media.film_caption))


def _frames(media: PageMedia) -> str:
    if not media.strips:
        return ""
    text = "Every frame of the upper rows was made by the model from the start frame and actions."
    return parts.section("Beside the ground truth", text, parts.strips(media.strips))


def _path(summary: Mapping[str, JsonValue]) -> str:
    text = "Each stage is kept under a digest of its code, its settings and what went in."
    return parts.section("The path", text, parts.stages(_stages(summary)))


def _gate(report: EvaluationReport) -> str:
    against = "the champion on the same clips and seeds" if report.champion else "fixed bars"
    text = (
        f"Judged on {len(report.clips)} clips of worlds held out from training, against {against}."
    )
    spaced = f'{parts.bars(report)}<div style="height:18px"></div>{parts.figures(report)}'
    return parts.section("What the gate saw", text, spaced)


def _control(report: EvaluationReport, media: PageMedia) -> str:
    curves = []
    if media.walk_trace is not None and media.walk_trace.frames:
        curves.append(parts.turn_curve(media.walk_trace, "The walk above"))
    curves += [parts.turn_curve(trace, trace.clip_id) for trace in report.traces if trace.frames]
    if not curves:
        return ""
    text = (
        "Turning as it was asked for, and as it is read from pairs of images alone; the same"
        " reading of the recording shows how far that can be trusted. Stretches of sidestepping are"
        " left out: two images cannot tell a slide along a wall from a turn."
    )
    return parts.section("Does it obey?", text, parts.charts(curves))


def _curves(media: PageMedia, report: EvaluationReport) -> str:
    curves = [parts.quality_curve(report), *media.curves]
    text = "Quality as the walk goes on, and what training did in this run."
    return parts.section("Curves", text, parts.charts(curves))


def _lineage(summary: Mapping[str, JsonValue], given: Sequence[tuple[str, str]]) -> str:
    known = [(role, _text(summary, key)) for role, key in _LINEAGE]
    found = [pair for pair in (given or known) if pair[1]]
    if not found:
        return ""
    text = "Content digests: the same bytes on every run of the same inputs."
    return parts.section("Lineage", text, parts.lineage(found))


def _commands(summary: Mapping[str, JsonValue], given: Sequence[tuple[str, str]]) -> str:
    known = [(text, _text(summary, key)) for text, key in _COMMANDS]
    found = [pair for pair in (given or known) if pair[1]]
    if not found:
        return ""
    return parts.section("What to do next", "", parts.commands(found))


def _foot(summary: Mapping[str, JsonValue], report: EvaluationReport) -> str:
    run = _text(summary, "run_id")
    told = [f"run {run}" if run else "", f"release {report.release[:19]}"]
    return f"<footer>{escape(', '.join(part for part in told if part))}</footer>"


def _stages(summary: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    found = summary.get("stages")
    if not isinstance(found, dict) or not found:
        message = f"summary: stages is {found!r}, expected an object of stages"
        raise DataError(message)
    return found


def _number(summary: Mapping[str, JsonValue], key: str) -> float:
    value = summary.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"summary: {key} is {value!r}, expected a number"
        raise DataError(message)
    return float(value)


def _text(summary: Mapping[str, JsonValue], key: str) -> str:
    value = summary.get(key)
    return "" if value is None else str(value)
