"""`worldloom model`: what a model is and costs."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows

app = typer.Typer(help="Describe models and their presets.", no_args_is_help=True)


@app.command("list")
def list_presets(output: OutputOption = Output.TABLE) -> None:
    """List the presets."""
    from worldloom.presets import PRESETS

    rows = [
        {
            "preset": name,
            "dim": config.dim,
            "blocks": config.num_blocks,
            "heads": config.num_heads,
            "segment_frames": config.segment_frames,
        }
        for name, config in PRESETS.items()
    ]
    emit_rows(rows, output, next_command=f"worldloom model describe {next(iter(PRESETS))}")


@app.command("describe")
def describe(
    preset: Annotated[str, typer.Argument(help="Name of a preset.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Print a preset's parameters, tokens, operations and bytes, without allocating its weights."""
    from worldloom.config import resolved
    from worldloom.model.footprint import footprint
    from worldloom.presets import preset as shape_of

    config = shape_of(preset)
    fields = resolved(footprint(config))
    if output is Output.TABLE:
        parameters = fields.pop("parameters")
        assert isinstance(parameters, dict)
        fields = {f"parameters.{part}": count for part, count in parameters.items()} | fields
    emit_fields(
        {"preset": preset, **fields}, output, next_command="worldloom pipeline run --preset demo"
    )
