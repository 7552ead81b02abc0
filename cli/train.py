"""`worldloom train`: training that makes no release, such as the starter weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, say

app = typer.Typer(help="Train outside a release: the starter weights.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train outside a release: the starter weights."""


@app.command("starter")
def starter(
    out: Annotated[Path, typer.Option(help="Folder to write the weights into.")] = Path(
        "out/starter"
    ),
    preset: Annotated[str, typer.Option(help="Settings: starter or smallest.")] = "starter",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="task.dotted.path=value, over everything.")
    ] = None,
    tracking: Annotated[bool, typer.Option(help="Log to MLflow.")] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make starter weights from nothing: capture, VAE, base model, student; resumable."""
    from cli.pipeline_requests import home, store_address
    from cli.pipeline_runs import leave_on_failure, wait_for_end
    from pipelines import local
    from pipelines.run_record import task_statuses
    from pipelines.starter import export_starter
    from worldloom.store import open_store

    request = local.RunRequest(
        home=home(),
        store=store_address(),
        pipeline="starter",
        preset=preset,
        overrides=tuple(set_ or ()),
        tracking=tracking,
    )
    folder = local.start_run(local.prepare_run(request))
    leave_on_failure(wait_for_end(folder, cancel_on_interrupt=True))
    outputs = {status.task: status.outputs for status in task_statuses(folder)}
    sizes = export_starter(open_store(store_address()), outputs, out)
    say(f"run {folder.name}: done", output)
    emit_fields(
        {"folder": str(out), **sizes},
        output,
        next_command=f"WORLDLOOM_STARTER={out} worldloom demo",
    )
