"""`worldloom play`: recorded actions over one gRPC stream, the frames into a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import Output, OutputOption, emit_fields

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def play(
    actions: Annotated[Path, typer.Option(help="Action file (JSON: keyboard, mouse).")],
    out: Annotated[Path, typer.Option(help="Video to write, .mp4.")],
    address: Annotated[str, typer.Option(help="host:port of the server.")] = "127.0.0.1:8001",
    world: Annotated[str, typer.Option(help="World to start in; by default the first.")] = "",
    prompt: Annotated[str, typer.Option(help="Prompt; by default the world's.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the session's noise.")] = 0,
    memory: Annotated[bool, typer.Option(help="Look up earlier frames of the same place.")] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send recorded actions to a server and keep its frames as a video."""
    from services.client.grpc import SessionOptions
    from services.recording import play_walk, walk_frames, write_video
    from worldloom.actions import read_actions

    if out.suffix != ".mp4":
        message = f"--out {out}: expected a file that ends in .mp4"
        raise typer.BadParameter(message)
    recorded = read_actions(actions)
    options = SessionOptions(
        world=world or None, prompt=prompt or None, seed=seed, enable_memory=memory
    )
    result = play_walk(address, recorded, options)
    write_video(out, walk_frames(result))
    fields = {
        "frames": len(result.frames),
        "first_frame_seconds": round(result.first_frame_seconds, 4),
        "frames_per_second": round(result.frames_per_second, 2),
        "seconds": round(result.seconds, 3),
        "world": result.ready.world,
        "release": result.ready.release,
        "video": str(out),
    }
    following = f"worldloom play --actions {actions} --seed {seed + 1} --out {out}"
    emit_fields(fields, output, next_command=following)
