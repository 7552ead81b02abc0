"""`worldloom model`: what a model is, costs and needs, and where its segments lie."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
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


@app.command("walk")
def walk(  # noqa: PLR0913 - a command's options are its arguments
    preset: PresetArgument,
    transformer: Annotated[
        Path, typer.Option(help="Folder, index or file of the published transformer.")
    ],
    vae: Annotated[Path, typer.Option(help="The published VAE as safetensors.")],
    text: Annotated[Path, typer.Option(help="umT5's folder: tokenizer, settings, weights.")],
    image: Annotated[Path, typer.Option(help="Start image of the preset's size.")],
    actions: Annotated[Path, typer.Option(help="Action file: 56 frames, or 40 n more.")],
    out: Annotated[Path, typer.Option(help="Film to write.")],
    prompt: Annotated[str, typer.Option(help="What is to be seen.")] = "",
    overrides: SetOption = None,
    light_decoder: Annotated[
        Path | None, typer.Option(help="File of a decoder that lacks channels.")
    ] = None,
    removed: Annotated[
        float, typer.Option(min=0, max=0.95, help="Share of channels that it lacks.")
    ] = 0.0,
    is_base: Annotated[
        bool, typer.Option("--base", help="The weights are the many-step base model's.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="Where it runs: cpu or cuda.")] = "cuda",
    output: OutputOption = Output.TABLE,
) -> None:
    """Walk through the published model from its own files, and write a film."""
    from cli.model_walk import Walk
    from cli.model_walk import walk as walk_through
    from worldloom.evaluate.film import write_mp4
    from worldloom.presets import preset as preset_named
    from worldloom.presets import with_overrides
    from worldloom.rollout.public_model import PublicFiles

    frames = walk_through(
        preset,
        with_overrides(preset_named(preset), overrides or []),
        PublicFiles(transformer, vae, text, light_decoder),
        Walk(image, prompt, actions, seed),
        removed=removed,
        is_base=is_base,
        device=device,
    )
    write_mp4(out, frames)
    emit_fields({"film": str(out), "frames": len(frames), "seed": seed}, output)
