"""`worldloom data`: record clips, and say what a clips artifact holds.

Thin: settings in, rows out. It imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows
from cli.pipeline_requests import store_address

app = typer.Typer(
    help="Ingest clips and describe them.", rich_markup_mode=None, pretty_exceptions_enable=False
)

_SHOWN_QUALITY = ("brightness", "sharpness", "mismatch_share", "blocked_share")


@app.command()
def ingest(
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="dotted.path=value of the ingestion's settings."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Record clips of every source and store them; what is unchanged is taken from the store."""
    from components.ingestion import ingest as task
    from components.runtime import run_step
    from worldloom.config import apply_overrides
    from worldloom.data.capture import CaptureConfig
    from worldloom.log import configure_logging

    configure_logging()
    config = apply_overrides(CaptureConfig(), set_ or ())
    outputs = run_step(task.STEP, task.run, config=config.model_dump_json(), parents={}, code="")
    digest = outputs["clips"]
    emit_fields(
        {"clips": digest, "store": store_address()},
        output,
        next_command=f"worldloom data describe {digest}",
    )


@app.command()
def describe(
    clips: Annotated[str, typer.Argument(help="A clips artifact's digest, or a folder of clips.")],
    every: Annotated[bool, typer.Option("--clips", help="A row for each clip.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what a clips artifact holds: counts, worlds, paths and quality figures."""
    from worldloom.data.clips import clip_index

    rows = clip_index(_folder(clips))
    shown = [_clip_row(row) for row in rows] if every else _group_rows(rows)
    emit_rows(shown, output, next_command="worldloom pipeline run")


def _folder(clips: str) -> Path:
    """Return a folder as it is, and an artifact's folder after its files were verified."""
    from worldloom.errors import DataError
    from worldloom.store import open_store

    if clips.startswith("sha256:"):
        return open_store(store_address()).fetch(clips, kind="clips")
    folder = Path(clips)
    if not folder.is_dir():
        message = f"clips {clips!r}: expected a sha256: digest or a folder"
        raise DataError(message)
    return folder


def _clip_row(row: Mapping[str, object]) -> dict[str, object]:
    quality = cast("Mapping[str, float]", row["quality"])
    names = ("clip_id", "source", "split", "world", "trajectory", "num_frames", "prompt")
    shown: dict[str, object] = {name: row[name] for name in names}
    return shown | {name: quality.get(name) for name in _SHOWN_QUALITY}


def _group_rows(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    groups: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    for row in rows:
        groups.setdefault((str(row["split"]), str(row["source"])), []).append(row)
    return [_group_row(split, source, members) for (split, source), members in groups.items()]


def _group_row(
    split: str, source: str, members: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    qualities = [cast("Mapping[str, float]", row["quality"]) for row in members]
    row: dict[str, object] = {
        "split": split,
        "source": source,
        "clips": len(members),
        "frames": sum(cast("int", member["num_frames"]) for member in members),
        "size": "x".join(str(members[0][name]) for name in ("height", "width")),
        "worlds": len({member["world"] for member in members}),
    }
    paths = sorted({str(member["trajectory"]) for member in members})
    row |= {path: sum(member["trajectory"] == path for member in members) for path in paths}
    for name in _SHOWN_QUALITY:
        values = [quality[name] for quality in qualities if name in quality]
        row[name] = sum(values) / len(values) if values else None
    return row
