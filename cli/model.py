"""`worldloom model`: what a model is, costs and needs, and where its segments lie."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows

app = typer.Typer(help="Describe models and their presets.", no_args_is_help=True)

PresetArgument = Annotated[str, typer.Argument(help="Name of a preset.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="path=value of the transformer's shape, over the preset's."),
]


@app.command("list")
def list_presets(output: OutputOption = Output.TABLE) -> None:
    """List the presets."""
    from worldloom.presets import PRESETS

    rows = []
    for name, model in PRESETS.items():
        shape = model.transformer
        rows.append(
            {
                "preset": name,
                "layout": shape.layout,
                "pixels": "x".join(map(str, shape.frame_size)),
                "dim": shape.dim,
                "blocks": shape.num_blocks,
                "heads": shape.num_heads,
                "segment_frames": shape.segment_frames,
                "vae": model.vae,
            }
        )
    emit_rows(rows, output, next_command="worldloom model describe mg3-5b")


@app.command("describe")
def describe(
    preset: PresetArgument,
    overrides: SetOption = None,
    resolution: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH of the frames, pixels; the preset's by default.")
    ] = "",
    gpu_memory_gib: Annotated[
        float, typer.Option(help="Memory of the GPU that is to hold it, GiB.", min=0.1)
    ] = 80.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what a preset is, computes and needs, without allocating its weights.

    A GPU that cannot hold it in any format is refused.
    """
    from cli.model_table import description_lines
    from worldloom.config import resolved
    from worldloom.model.cost.description import describe as describe_model
    from worldloom.model.cost.memory_plan import GIB, require_memory
    from worldloom.presets import at_resolution, with_overrides
    from worldloom.presets import preset as preset_named
    from worldloom.quantize.config import QuantizeLinearsConfig

    model = with_overrides(preset_named(preset), overrides or [])
    if resolution:
        model = at_resolution(model, resolution)
    gpu_bytes = int(gpu_memory_gib * GIB)
    is_int8 = QuantizeLinearsConfig().selects
    require_memory(
        model.transformer, gpu_bytes, name=preset, experts=model.experts, is_int8=is_int8
    )
    told = describe_model(
        model.transformer,
        model.sampler.sigmas,
        gpu_bytes,
        num_branches=1 if model.sampler.guidance_scale == 1 else 2,
        experts=model.experts,
        is_int8=is_int8,
    )
    words = {"preset": preset, "description": model.description, "starts_from": model.starts_from}
    following = f"worldloom model segments {preset} --count 21"
    if output is Output.JSON:
        emit_fields({**words, **resolved(told)}, output, next_command=following)
    else:
        emit_fields({**words, **description_lines(told)}, output, next_command=following)


@app.command("segments")
def segments(
    preset: PresetArgument,
    count: Annotated[int, typer.Option(help="Segments, from the first on.", min=1)] = 12,
    overrides: SetOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List where a preset's segments lie: frames, latents, memory queries, actions."""
    from worldloom.presets import preset as preset_named
    from worldloom.presets import segments_of, with_overrides

    shape = with_overrides(preset_named(preset), overrides or []).transformer
    rows = [asdict(segment) for segment in segments_of(shape, count)]
    emit_rows(rows, output, next_command=f"worldloom model describe {preset}")
