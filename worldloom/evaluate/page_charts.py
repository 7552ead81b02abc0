"""Charts as inline SVG: lines over a horizontal axis, and intervals against a limit.

Colours are CSS classes of the page, so that a chart follows light and dark. It does not know what
it draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 28, 34
_TARGET_TICKS = 5


@dataclass(frozen=True)
class Series:
    """A line: its legend, its points and its CSS class (`model`, `truth` or `asked`)."""

    label: str
    points: tuple[Point, ...]
    css_class: str = "model"


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes."""

    series: tuple[Series, ...]
    x_label: str
    y_label: str
    width: int = 560
    height: int = 240
    include_zero: bool = False


def line_chart(chart: Chart) -> str:
    """Return a chart as one `<svg>` element; points that are not finite break their line.

    Raises:
        ValueError: when no point is finite.
    """
    finite = [p for line in chart.series for p in line.points if _is_finite(p)]
    if not finite:
        message = f"chart {chart.y_label!r}: no finite point, expected at least one"
        raise ValueError(message)
    x_ticks = _ticks(min(x for x, _ in finite), max(x for x, _ in finite))
    zero = [0.0] if chart.include_zero else []
    heights = [y for _, y in finite] + zero
    y_ticks = _ticks(min(heights), max(heights))
    scale = _Scale(
        chart,
        (min(x for x, _ in finite), max(x for x, _ in finite)),
        (y_ticks[0], y_ticks[-1]),
    )
    parts = [_grid(scale, x_ticks, y_ticks), *(_line(scale, line) for line in chart.series)]
    labels = (
        f'<text class="axis" x="{chart.width - _RIGHT}" y="{chart.height - 4}"'
        f' text-anchor="end">{escape(chart.x_label)}</text>'
        f'<text class="axis" x="2" y="10">{escape(chart.y_label)}</text>'
    )
    return (
        f'<svg viewBox="0 0 {chart.width} {chart.height}" role="img"'
        f' aria-label="{escape(chart.y_label)} over {escape(chart.x_label)}">'
        f"{''.join(parts)}{labels}</svg>{_legend(chart.series)}"
    )


def interval_bar(
    value: float, low: float, high: float, *, domain: tuple[float, float], limit: float | None
) -> str:
    """Return a small `<svg>`: an interval with its mean on a line, a limit as a tick."""
    width, height, margin = 180, 22, 6
    first, last = domain
    span = (last - first) or 1.0

    def place(number: float) -> float:
        share = min(1.0, max(0.0, (number - first) / span))
        return margin + share * (width - 2 * margin)

    tick = ""
    if limit is not None:
        x = place(limit)
        tick = f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="3" y2="19"/>'
    return (
        f'<svg class="interval" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line class="rail" x1="{margin}" x2="{width - margin}" y1="11" y2="11"/>'
        f'<line class="span" x1="{place(low):.1f}" x2="{place(high):.1f}" y1="11" y2="11"/>'
        f'{tick}<circle class="mean" cx="{place(value):.1f}" cy="11" r="4"/></svg>'
    )


class _Scale:
    """Maps values to the chart's pixels."""

    def __init__(self, chart: Chart, x_range: Point, y_range: Point) -> None:
        self.chart, self._x, self._y = chart, x_range, y_range

    def x(self, value: float) -> float:
        span = (self._x[1] - self._x[0]) or 1.0
        return _LEFT + (value - self._x[0]) / span * (self.chart.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        span = (self._y[1] - self._y[0]) or 1.0
        inside = self.chart.height - _TOP - _BOTTOM
        return _TOP + (self._y[1] - value) / span * inside


def _grid(scale: _Scale, x_ticks: list[float], y_ticks: list[float]) -> str:
    chart, parts = scale.chart, []
    for tick in y_ticks:
        y = scale.y(tick)
        css = "zero" if tick == 0 else "grid"
        parts.append(
            f'<line class="{css}" x1="{_LEFT}" x2="{chart.width - _RIGHT}" y1="{y:.1f}"'
            f' y2="{y:.1f}"/><text class="axis" x="{_LEFT - 6}" y="{y + 3.5:.1f}"'
            f' text-anchor="end">{_short(tick)}</text>'
        )
    for tick in x_ticks:
        x = scale.x(tick)
        if _LEFT - 1 <= x <= chart.width - _RIGHT + 1:
            parts.append(
                f'<text class="axis" x="{x:.1f}" y="{chart.height - _BOTTOM + 15}"'
                f' text-anchor="middle">{_short(tick)}</text>'
            )
    return "".join(parts)


def _line(scale: _Scale, series: Series) -> str:
    commands, is_pen_down = [], False
    for point in series.points:
        if _is_finite(point):
            x, y = scale.x(point[0]), scale.y(point[1])
            commands.append(f"{'L' if is_pen_down else 'M'}{x:.1f} {y:.1f}")
        is_pen_down = _is_finite(point)
    dots = ""
    if len(series.points) <= 1:
        dots = "".join(
            f'<circle class="dot {series.css_class}" cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}"'
            ' r="3"/>'
            for x, y in series.points
            if _is_finite((x, y))
        )
    return f'<path class="line {series.css_class}" d="{"".join(commands)}"/>{dots}'


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    items = "".join(
        f'<span><i class="key {line.css_class}"></i>{escape(line.label)}</span>' for line in series
    )
    return f'<div class="legend">{items}</div>'


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers that enclose a range."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / _TARGET_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _short(value: float) -> str:
    return f"{value:g}" if abs(value) < 10000 else f"{value / 1000:g}k"


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])
