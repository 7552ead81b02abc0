"""The report page's sections, each a function from values to HTML.

Everything that comes from outside is escaped here. It does not know where values come from.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from worldloom.config import JsonValue
from worldloom.evaluate.film import png_bytes
from worldloom.evaluate.interval import Interval
from worldloom.evaluate.page_charts import Chart, Series, interval_bar, line_chart
from worldloom.evaluate.report import ControlTrace, EvaluationReport
from worldloom.evaluate.video_quality import Frames

FIGURE_TITLES: Mapping[str, tuple[str, str]] = {
    "psnr_db": ("PSNR", "closeness to the recording"),
    "copy_last_frame_psnr_db": ("PSNR of copying", "the baseline: repeat the last frame seen"),
    "ssim": ("SSIM", "structural similarity to the recording"),
    "perceptual_distance": (
        "Perceptual distance",
        "in features of a fixed random net; less is closer",
    ),
    "sharpness_ratio": ("Sharpness", "fine detail against the recording's; 1 is as sharp"),
    "drift_db_per_segment": ("Drift", "PSNR gained or lost with each segment"),
    "revisit_psnr_db": ("PSNR on return", "at places seen long before: the memory's work"),
    "self_consistency_psnr_db": ("Self-consistency", "a place on return against its first sight"),
    "yaw_sign_accuracy": ("Turns obeyed", "frame pairs that turn the way that was asked"),
    "yaw_sign_accuracy_ground_truth": ("Turns read off recordings", "the same measure's ceiling"),
    "left_right_divergence": ("Left against right", "mean pixel distance of the two walks"),
    "noise_divergence": ("Seed against seed", "mean pixel distance of what the start image shows"),
}


@dataclass(frozen=True)
class Strip:
    """A picture with its title."""

    title: str
    picture: Frames  # uint8 [H, W, 3]


@dataclass(frozen=True)
class Curve:
    """A chart with its title."""

    title: str
    chart: Chart


def section(title: str, text: str, body: str) -> str:
    """Return a titled section; `text` says in a sentence or two what there is to see."""
    told = f'<p class="soft">{escape(text)}</p>' if text else ""
    return f"<section><h2>{escape(title)}</h2>{told}{body}</section>"


def tile(value: str, unit: str, text: str) -> str:
    """Return a large figure with what it means."""
    return (
        f'<div class="card tile"><b>{escape(value)}<small>{escape(unit)}</small></b>'
        f"<span>{escape(text)}</span></div>"
    )


def stages(found: Mapping[str, JsonValue]) -> str:
    """Return the path's stages: seconds as bars, reuse and its reason."""
    rows = {name: dict(row) for name, row in found.items() if isinstance(row, dict)}
    seconds = {name: _number(row.get("seconds")) for name, row in rows.items()}
    longest = max([*seconds.values(), 1e-9])
    items = []
    for name, row in rows.items():
        is_reused = row.get("reused") is True
        badge = '<span class="badge">reused</span>' if is_reused else ""
        items.append(
            f'<li class="{"reused" if is_reused else "ran"}">'
            f'<span class="name">{escape(name.replace("_", " "))}</span>'
            f'<span class="bar"><i style="width:{100 * seconds[name] / longest:.1f}%"></i></span>'
            f'<span class="time">{duration(seconds[name])}</span>'
            f'<span class="why">{badge}{escape(str(row.get("reason") or ""))}</span></li>'
        )
    return f'<ol class="card stage-list">{"".join(items)}</ol>'


def bars(report: EvaluationReport) -> str:
    """Return every bar of the gate with a tick or a cross."""
    items = []
    for bar in report.bars:
        css, mark = ("good", "&#10003;") if bar.is_met else ("bad", "&#10007;")
        items.append(
            f'<li><span class="mark {css}">{mark}</span><span>{escape(bar.sentence)}</span></li>'
        )
    return f'<ul class="card checks">{"".join(items)}</ul>'


def figures(report: EvaluationReport) -> str:
    """Return the table of figures with their intervals and, if any, the champion's difference."""
    head = "<th>figure</th><th class=number>value</th><th>95 % interval over clips</th>"
    if report.differences:
        head += "<th class=number>against the champion</th>"
    body = []
    for name, figure in report.figures.items():
        title, text = FIGURE_TITLES.get(name, (name, ""))
        unit = f"&nbsp;{escape(figure.unit)}" if figure.unit else ""
        limits = report.champion_figures.get(name)
        row = (
            f"<td>{escape(title)}<br><span class=soft>{escape(text)}</span></td>"
            f"<td class=number><b>{figure.mean:.3g}</b>{unit}</td>"
            f"<td>{_interval(figure, limits.mean if limits else None)}</td>"
        )
        if report.differences:
            row += f"<td class=number>{_difference(report.differences.get(name))}</td>"
        body.append(f"<tr>{row}</tr>")
    return (
        f'<div class="card scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def charts(curves: Sequence[Curve]) -> str:
    """Return small charts beside each other."""
    cards = "".join(
        f'<div class="card"><h3>{escape(curve.title)}</h3>{line_chart(curve.chart)}</div>'
        for curve in curves
    )
    return f'<div class="grid">{cards}</div>'


def turn_curve(trace: ControlTrace, title: str) -> Curve:
    """Return the chart of turn asked and turn seen."""

    def points(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
        found: list[tuple[float, float]] = []
        for frame, value in zip(trace.frames, values, strict=True):
            if found and frame - found[-1][0] > stride:
                found.append((float(frame), math.nan))  # a stretch without pairs: lift the pen
            found.append((float(frame), float(value)))
        return tuple(found)

    steps = [later - frame for frame, later in pairwise(trace.frames)]
    stride = min(steps, default=1)

    series = (
        Series("asked", points(trace.asked), "asked"),
        Series("seen in the recording", points(trace.ground_truth), "truth"),
        Series("seen in the model's frames", points(trace.model), "model"),
    )
    chart = Chart(series, "frame", "degrees a frame, right is up", include_zero=True)
    return Curve(title, chart)


def quality_curve(report: EvaluationReport) -> Curve:
    """Return the chart of PSNR by segment, beside copying."""
    longest = max(len(clip.segment_psnr_db) for clip in report.clips)
    means = []
    for index in range(longest):
        values = [c.segment_psnr_db[index] for c in report.clips if index < len(c.segment_psnr_db)]
        means.append((float(index + 1), sum(values) / len(values)))
    copied = report.figures["copy_last_frame_psnr_db"].mean
    baseline = ((1.0, copied), (float(longest), copied))
    series = (Series("copying", baseline, "asked"), Series("model", tuple(means), "model"))
    return Curve("Quality from segment to segment", Chart(series, "segment", "PSNR, dB"))


def film(mp4: bytes, caption: str) -> str:
    """Return a film that plays from within the page."""
    data = b64encode(mp4).decode()
    return (
        '<div class="card"><video autoplay loop muted playsinline controls'
        f' src="data:video/mp4;base64,{data}"></video>'
        f'<p class="soft" style="margin:12px 0 0">{escape(caption)}</p></div>'
    )


def strips(pictures: Sequence[Strip]) -> str:
    """Return pictures under each other."""
    items = []
    for strip in pictures:
        data = b64encode(png_bytes(strip.picture)).decode()
        title = escape(strip.title)
        items.append(
            f'<div class="strip"><h3>{title}</h3>'
            f'<img alt="{title}" src="data:image/png;base64,{data}"></div>'
        )
    return f'<div class="card">{"".join(items)}</div>'


def lineage(digests: Sequence[tuple[str, str]]) -> str:
    """Return what came from what, by digest."""
    rows = "".join(
        f"<dt>{escape(role)}</dt><dd><code>{escape(digest)}</code></dd>" for role, digest in digests
    )
    return f'<dl class="card lineage">{rows}</dl>'


def commands(found: Sequence[tuple[str, str]]) -> str:
    """Return commands with what they do."""
    rows = "".join(
        f"<div><p>{escape(text)}</p><pre>{escape(command)}</pre></div>" for text, command in found
    )
    return f'<div class="card commands">{rows}</div>'


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def _interval(figure: Interval, champion: float | None) -> str:
    values = [figure.low, figure.high, *([] if champion is None else [champion])]
    low, high = min(values), max(values)
    pad = 0.15 * ((high - low) or abs(high) or 1.0)
    drawn = interval_bar(
        figure.mean, figure.low, figure.high, domain=(low - pad, high + pad), limit=champion
    )
    return f"{drawn}<span class=soft>{figure.low:.3g} to {figure.high:.3g}</span>"


def _difference(difference: Interval | None) -> str:
    if difference is None:
        return "&ndash;"
    return (
        f"{difference.mean:+.3g}<br><span class=soft>{difference.low:+.2g} to"
        f" {difference.high:+.2g}</span>"
    )


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
