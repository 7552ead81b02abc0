"""How commands answer: a table for people or JSON for programs, and what to do next.

Answers go to standard output; with JSON, everything for people goes to standard error. It knows
nothing of what is answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

Cell = None | bool | int | float | str
Row = Mapping[str, object]


class Output(StrEnum):
    """The form of an answer."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="Form of the answer: a table or JSON.")
]


def emit_rows(rows: Sequence[Row], output: Output, *, next_command: str = "") -> None:
    """Answer with rows of the same columns."""
    if output is Output.JSON:
        typer.echo(json.dumps(list(rows), indent=2, default=str))
    elif rows:
        _print_table(rows)
    else:
        typer.echo("nothing to show")
    say_next(next_command, output)


def emit_fields(fields: Row, output: Output, *, next_command: str = "") -> None:
    """Answer with one thing's fields; in a table, one field a line."""
    if output is Output.JSON:
        typer.echo(json.dumps(dict(fields), indent=2, default=str))
    else:
        width = max((len(name) for name in fields), default=0)
        for name, value in fields.items():
            typer.echo(f"{name:<{width}}  {_text(value)}")
    say_next(next_command, output)


def say(text: str, output: Output) -> None:
    """Tell people something that is no part of the answer."""
    typer.echo(text, err=output is Output.JSON)


def say_next(command: str, output: Output) -> None:
    """Name the command that comes next."""
    if command:
        say(f"next: {command}", output)


def _print_table(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, overflow="fold", no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    if console.is_terminal:
        console.print(table)
    else:
        Console(width=10_000).print(table)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1 else f"{value:.3g}"
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return str(value)
