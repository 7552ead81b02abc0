"""How the report of a measurement ends a command: written, shown, and judged by its bars.

It does not know what was measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.output import Output, emit_fields, emit_rows, say

if TYPE_CHECKING:
    from worldloom.bench.record import BenchReport

_MISSED_EXIT_CODE = 1


def finish_report(report: BenchReport, folder: Path, name: str, output: Output) -> None:
    """Write a report, show it, and leave with 1 when a bar was missed."""
    from worldloom.bench.record import write_report
    from worldloom.config import resolved

    paths = write_report(folder, name, report)
    if output is Output.JSON:
        emit_fields(resolved(report), output)
    else:
        columns = ("name", "unit", "num_samples", "num_warmup", "median", "p95", "mean")
        rows = [{key: _short(getattr(row, key)) for key in columns} for row in report.measurements]
        if rows:
            emit_rows(rows, output)
        for bar in report.bars:
            say(f"{'met' if bar.is_met else 'MISSED'}: {bar.sentence}", output)
    say(f"written: {', '.join(map(str, paths))}", output)
    if report.missed:
        told = "; ".join(bar.sentence for bar in report.missed)
        typer.echo(f"worldloom: {told}", err=True)
        raise typer.Exit(_MISSED_EXIT_CODE)


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
