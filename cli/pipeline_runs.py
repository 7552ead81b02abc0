"""`worldloom pipeline list|status|logs|watch|cancel`: what any terminal sees of local runs.

Everything is read from the runs' folders.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows, say, say_next
from cli.pipeline_requests import home
from worldloom.errors import ConfigError

if TYPE_CHECKING:
    from components.task_status import TaskStatus
    from pipelines.run_record import RunResult

RunArgument = Annotated[str, typer.Argument(help="Run, the beginning of its name, or latest.")]
_FOLLOW_SECONDS = 0.3


def add_to(app: typer.Typer) -> None:
    """Add these commands to `worldloom pipeline`."""
    app.command("list")(list_runs)
    app.command()(status)
    app.command()(logs)
    app.command()(watch)
    app.command()(cancel)


def list_runs(output: OutputOption = Output.TABLE) -> None:
    """List local runs, the newest last."""
    from pipelines import run_record

    rows = []
    for folder in run_record.list_runs(home()):
        record = run_record.read_run(folder)
        statuses = run_record.task_statuses(folder)
        rows.append(
            {
                "run_id": folder.name,
                "pipeline": record.pipeline,
                "preset": record.preset,
                "state": run_record.run_state(folder),
                "done": f"{sum(s.state == 'done' for s in statuses)}/{len(statuses)}",
                "reused": sum(bool(s.reused) for s in statuses),
                "seconds": run_seconds(folder),
            }
        )
    emit_rows(rows, output, next_command="worldloom pipeline status latest")


def status(run_id: RunArgument = "latest", output: OutputOption = Output.TABLE) -> None:
    """Tell where a run stands, task by task."""
    from pipelines import run_record

    folder = run_record.find_run(home(), run_id)
    answer(folder, output)


def logs(
    run_id: RunArgument = "latest",
    task: Annotated[str, typer.Argument(help="Task; absent: the runner's own log.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the end.")] = False,
) -> None:
    """Print the log of a run or of one of its tasks."""
    from components.task_status import LOG_FILE, task_folder
    from pipelines import run_record

    folder = run_record.find_run(home(), run_id)
    known = run_record.read_run(folder).tasks
    if task and task not in known:
        message = f"task {task!r}: run {folder.name} has {', '.join(known)}"
        raise ConfigError(message)
    path = task_folder(folder, task) / LOG_FILE if task else folder / run_record.RUNNER_LOG
    position = _print_from(path, 0)
    while follow and run_record.run_state(folder) in {"starting", "running"}:
        time.sleep(_FOLLOW_SECONDS)
        position = _print_from(path, position)
    _print_from(path, position)
    say_next(f"worldloom pipeline status {folder.name}", Output.JSON)


def watch(run_id: RunArgument = "latest", output: OutputOption = Output.TABLE) -> None:
    """Follow a run until it ends; interrupting this leaves the run alone."""
    from pipelines import run_record

    follow_to_the_end(run_record.find_run(home(), run_id), output, cancel_on_interrupt=False)


def cancel(run_id: RunArgument = "latest", output: OutputOption = Output.TABLE) -> None:
    """End the processes of one run; finished tasks stay in the store."""
    from pipelines import local, run_record

    folder = run_record.find_run(home(), run_id)
    cancelled = local.cancel_run(folder)
    fields = {"run_id": folder.name, "cancelled": cancelled, "state": run_record.run_state(folder)}
    emit_fields(fields, output, next_command=f"worldloom pipeline resume {folder.name}")


def follow_to_the_end(folder: Path, output: Output, *, cancel_on_interrupt: bool) -> None:
    """Show a run's progress until it ends, then answer with its tasks.

    Raises:
        typer.Exit: with the run's exit code if it failed.
    """
    result = wait_for_end(folder, cancel_on_interrupt=cancel_on_interrupt)
    answer(folder, output)
    leave_on_failure(result)


def wait_for_end(folder: Path, *, cancel_on_interrupt: bool) -> RunResult:
    """Show a run's progress until it ends, and return how it ended."""
    from cli.pipeline_progress import follow
    from pipelines import local

    try:
        follow(folder)
    except KeyboardInterrupt:
        if cancel_on_interrupt:
            local.cancel_run(folder)
        else:
            raise
    return local.conclude(folder)


def leave_on_failure(result: RunResult, advice: str = "") -> None:
    """Tell why a run failed, with advice behind it, and leave with the run's exit code.

    Raises:
        typer.Exit: if it failed.
    """
    if result.exit_code:
        typer.echo(f"worldloom: {result.message}{advice}", err=True)
        raise typer.Exit(result.exit_code)


def answer(folder: Path, output: Output) -> None:
    """Answer with a run's tasks."""
    from pipelines import run_record

    state = run_record.run_state(folder)
    rows = [_row(status) for status in run_record.task_statuses(folder)]
    next_command = _next_command(folder, state)
    if output is Output.JSON:
        fields = {
            "run_id": folder.name,
            "state": state,
            "seconds": run_seconds(folder),
            "folder": str(folder),
            "tasks": rows,
        }
        emit_fields(fields, output, next_command=next_command)
        return
    emit_rows([{k: v for k, v in row.items() if k != "outputs"} for row in rows], output)
    seconds = run_seconds(folder)
    say(f"run {folder.name}: {state}, {seconds:.1f} s", output)
    say_next(next_command, output)


def run_seconds(folder: Path) -> float:
    """Return how long a run took, or has taken so far."""
    from pipelines import run_record

    result = run_record.read_result(folder)
    if result is None and run_record.run_state(folder) == "killed":
        return sum(status.seconds or 0.0 for status in run_record.task_statuses(folder))
    end = time.time() if result is None else result.finished
    return round(end - run_record.read_run(folder).created, 1)


def _row(status: TaskStatus) -> dict[str, object]:
    return {
        "task": status.task,
        "state": status.state,
        "seconds": status.seconds,
        "reused": status.reused,
        "reason": status.error or status.reason,
        "outputs": status.outputs,
    }


def _next_command(folder: Path, state: str) -> str:
    from pipelines import run_record

    if state == "done":
        return "worldloom registry list"
    if state in {"starting", "running"}:
        return f"worldloom pipeline watch {folder.name}"
    failed = [s.task for s in run_record.task_statuses(folder) if s.state == "failed"]
    if failed and state == "failed":
        return f"worldloom pipeline logs {folder.name} {failed[0]}"
    return f"worldloom pipeline resume {folder.name}"


def _print_from(path: Path, position: int) -> int:
    if not path.is_file():
        return position
    with path.open("rb") as file:
        file.seek(position)
        text = file.read()
    typer.echo(text.decode(errors="replace"), nl=False)
    return position + len(text)
