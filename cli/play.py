"""`worldloom play`: recorded actions through a gateway or straight to Triton, frames as a video."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from cli.output import Output, OutputOption, emit_fields

if TYPE_CHECKING:
    from services.client import PlayResult
    from services.client import grpc as straight
    from worldloom.actions import Actions

API_KEY_VARIABLE = "WORLDLOOM_API_KEY"

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


class Start(TypedDict):
    """How a session starts, whichever way it is reached."""

    world: str | None
    prompt: str | None
    seed: int
    enable_memory: bool


@app.command()
def play(
    actions: Annotated[Path, typer.Option(help="Action file (JSON: keyboard, mouse).")],
    out: Annotated[Path, typer.Option(help="Video to write, .mp4.")],
    address: Annotated[
        str,
        typer.Option(help="http:// or ws:// of a gateway, or host:port of an inference server."),
    ] = "127.0.0.1:8001",
    world: Annotated[str, typer.Option(help="World to start in; by default the first.")] = "",
    prompt: Annotated[str, typer.Option(help="Prompt; by default the world's.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the session's noise.")] = 0,
    memory: Annotated[bool, typer.Option(help="Look up earlier frames of the same place.")] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send recorded actions to a server and keep its frames as a video.

    A gateway that asks for a key finds it in WORLDLOOM_API_KEY.
    """
    from services.recording import walk_frames, write_video
    from worldloom.actions import read_actions

    if out.suffix != ".mp4":
        message = f"--out {out}: expected a file that ends in .mp4"
        raise typer.BadParameter(message)
    recorded = read_actions(actions)
    start = Start(world=world or None, prompt=prompt or None, seed=seed, enable_memory=memory)
    result = _play(address, recorded, start)
    write_video(out, walk_frames(result), frames_per_second=result.ready.frames_per_second)
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


def _play(address: str, recorded: Actions, start: Start) -> PlayResult | straight.PlayResult:
    from services.client import SessionOptions
    from services.client import grpc as straight
    from services.client.endpoint import is_gateway_address
    from services.recording import play_walk, play_walk_through_gateway

    if is_gateway_address(address):
        api_key = os.environ.get(API_KEY_VARIABLE)
        options = SessionOptions(**start)
        return play_walk_through_gateway(address, recorded, options, api_key=api_key)
    return play_walk(address, recorded, straight.SessionOptions(**start))
