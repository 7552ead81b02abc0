"""`worldloom train`: training that makes no release: starter weights, legs on a lent GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows, say

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(help="Train outside a release: the starter weights.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train outside a release: the starter weights."""


@app.command("starter")
def starter(
    out: Annotated[
        Path, typer.Option(help="Folder for the weights; legs that are there are done.")
    ] = Path("out/starter"),
    recipe: Annotated[
        Path | None, typer.Option(help="JSON file of legs; by default the recipe of freedoom.")
    ] = None,
    data: Annotated[
        Path,
        typer.Option(help="Folder for clips, rendered beside the legs and removed after them."),
    ] = Path("out/legs/data"),
    on_cpu: Annotated[
        bool, typer.Option("--on-cpu", help="Train for the recipe's minutes without a GPU too.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make starter weights by a recipe of legs; what was interrupted goes on where it was."""
    from worldloom.legs.carried import RECIPE
    from worldloom.legs.starter import planned_legs, read_recipe, require_gpu, train_starter

    legs = read_recipe(recipe or RECIPE)
    if not on_cpu and not all(leg.is_done for leg in planned_legs(legs, out)):
        require_gpu(legs)
    record = train_starter(
        legs,
        out=out,
        data=data,
        tell=lambda text: say(text, output),
        report=lambda step, _total, values: say(_progress(step, values), output),
    )
    rows = [
        {
            "leg": leg.name,
            "device": leg.device,
            "minutes": leg.minutes,
            "steps": leg.num_steps,
            "held_out": _held_out(leg.after),
        }
        for leg in record.legs
    ]
    emit_rows(rows, output, next_command=f"WORLDLOOM_STARTER={out} worldloom demo")


@app.command("leg")
def leg(  # noqa: PLR0913 - each is an option of its own
    stage: Annotated[
        str,
        typer.Argument(
            help="vae, actions, memory, cold_start, multi_segment, in turn; or decoder."
        ),
    ],
    weights: Annotated[
        Path, typer.Option(help="Folder of the parts to go on from; what is missing begins anew.")
    ] = Path("out/legs/weights"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the trained parts and leg.json; or --weights.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder of clips; what is missing is rendered beside.")
    ] = Path("out/legs/data"),
    preset: Annotated[str, typer.Option(help="A stream preset.")] = "freedoom",
    minutes: Annotated[float, typer.Option(help="Time of training.")] = 8.0,
    max_steps: Annotated[int, typer.Option(min=1, help="Steps at most.")] = 1_000_000,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of this leg's draws; clips take the next number.")
    ] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="dotted.path=value of the leg's settings, over everything."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Train one stage for some minutes, from clips rendered beside it; go on from weights."""
    from worldloom.config import apply_overrides, parse_config
    from worldloom.legs.config import LegConfig
    from worldloom.legs.run import run_leg

    asked = {"stage": stage, "preset": preset, "minutes": minutes, "max_steps": max_steps}
    feed = {"seed": seed + 1}
    config = parse_config(LegConfig, {**asked, "seed": seed, "feed": feed}, where="leg")
    log = run_leg(
        apply_overrides(config, set_ or []),
        data=data,
        weights=weights,
        out=out or weights,
        report=lambda step, _total, values: say(_progress(step, values), output),
    )
    shown = ("device", "seconds", "num_steps", "clips", "speed", "evaluations")
    emit_fields({"folder": str(out or weights), **{name: log[name] for name in shown}}, output)


def _held_out(figures: Mapping[str, float]) -> str:
    """Return a leg's held-out figures in one cell."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "step")


def _progress(step: int, values: Mapping[str, float]) -> str:
    """Return a line on a leg: its step, loss, speed, use of the machine, time spent on data."""
    shown = ("loss", "critic_loss", "matching_loss", "samples_per_second", "mfu", "data_wait_share")
    told = [f"{name} {values[name]:.4g}" for name in shown if name in values]
    return f"step {step}: {', '.join(told)}"
