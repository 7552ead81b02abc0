"""`worldloom chaos`: things are broken on purpose, and what comes of it is compared.

`pipeline` kills tasks of a real run and looks whether resumed runs end in the same digests; `serve`
breaks a running service under live sessions. The work is in `pipelines.kill_drill` and
`services.load.drills`; this module prepares homes, asks and tells.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.bench_report import finish_report
from cli.output import Output, OutputOption, Row, emit_fields, emit_rows, say, say_next
from cli.progress import progress

if TYPE_CHECKING:
    from components.step_record import StepRecord
    from components.task_status import TaskStatus
    from pipelines.kill_drill import Finding
    from pipelines.local import PreparedRun

app = typer.Typer(
    help="Break things on purpose and compare what comes of it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

_DIFFERENT_EXIT_CODE = 1
_MAX_ROUNDS = 3
# Another run's server and store must see nothing of this.
_FOREIGN_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
    "WORLDLOOM_STORE",
)
_MACHINE_KEYS = ("machine", "cpu_count", "threads", "python", "torch", "numpy")


@app.callback()
def _group() -> None:
    """Break things on purpose and compare what comes of it."""


@app.command("pipeline")
def pipeline(
    preset: Annotated[str, typer.Option(help="Settings: smallest or demo.")] = "smallest",
    tasks: Annotated[
        str, typer.Option(help="Tasks to kill, parted by commas; by default every one.")
    ] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="task.dotted.path=value, over everything.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the moments at which tasks are killed.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="JSON file for the results; a page is written beside it.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Kill each task of a run by SIGKILL, resume, and compare digests with an undisturbed run.

    Leave the sources alone meanwhile: a step refuses code that changes during its run.
    """
    say("do not edit the sources until this ends: steps refuse code that changes", output)
    with _fresh_folder() as folder:

        def prepare(home: str) -> PreparedRun:
            return _prepared(folder / home, preset, set_ or [])

        first = prepare("undisturbed")
        chosen = choose_tasks(tasks, [planned.task for planned in first.plan.tasks])
        results = _compare(first, prepare, chosen, seed=seed, output=output)
        is_good = bool(results["is_good"])
        if is_good:
            shutil.rmtree(folder)
    results = {"preset": preset, "set": list(set_ or []), "seed": seed, **results}
    if out is not None:
        write_results(out, results)
    _answer(results, output)
    if not is_good:
        typer.echo(f"worldloom: not every task survived; the runs are in {folder}", err=True)
        raise typer.Exit(_DIFFERENT_EXIT_CODE)


@app.command("serve")
def serve(
    drill: Annotated[
        list[str] | None,
        typer.Option(
            help="churn, replace, kill-triton, kill-gateway, stop-triton, slow-reader or "
            "malformed; may be given again; by default all of them."
        ),
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Live sessions of a drill.")] = 16,
    frames: Annotated[int, typer.Option(min=12, help="Frames that a session walks.")] = 240,
    cycles: Annotated[
        int,
        typer.Option(min=10, help="Sessions that `churn` opens; `malformed` sends two for each."),
    ] = 10_000,
    replacements: Annotated[int, typer.Option(min=1, help="Versions that `replace` brings.")] = 20,
    seconds: Annotated[float, typer.Option(min=1, help="Time of play of `slow-reader`.")] = 60.0,
    output_dir: Annotated[Path, typer.Option(help="Folder for chaos.json and chaos.md.")] = Path(
        "docs/results/serve"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Break a running service of the starter weights under live sessions, and judge them."""
    from services.load.drills.program import DRILLS, run_drills
    from services.load.drills.stage import DrillConfig

    unknown = sorted(set(drill or ()) - set(DRILLS))
    if unknown:
        message = f"--drill {unknown[0]}: not known, expected one of {', '.join(DRILLS)}"
        raise typer.BadParameter(message)
    config = DrillConfig(
        num_sessions=sessions,
        num_frames=frames,
        num_cycles=cycles,
        num_messages=2 * cycles,
        num_replacements=replacements,
        seconds=seconds,
    )
    chosen = [name for name in DRILLS if not drill or name in drill]
    command = " ".join(
        [
            "worldloom chaos serve",
            *(f"--drill {name}" for name in chosen if drill),
            f"--sessions {sessions} --frames {frames} --cycles {cycles}",
            f"--replacements {replacements} --seconds {seconds:g}",
        ]
    )
    with _fresh_folder() as folder:
        found = run_drills(
            chosen, config, folder, command, lambda text: say(text, output), progress
        )
        shutil.rmtree(folder)
    finish_report(found, output_dir, "chaos" if not drill else f"chaos-{'-'.join(chosen)}", output)


def choose_tasks(named: str, known: Sequence[str]) -> list[str]:
    """Return the tasks to kill in the order in which they run.

    Raises:
        ConfigError: for a name that the pipeline does not have.
    """
    from worldloom.errors import ConfigError

    names = [name.strip() for name in named.split(",") if name.strip()]
    unknown = sorted(set(names) - set(known))
    if unknown:
        message = f"task {unknown[0]!r}: the pipeline has {', '.join(known)}"
        raise ConfigError(message)
    return [task for task in known if not names or task in names]


def rows_of(findings: Sequence[Finding], chosen: Sequence[str]) -> list[dict[str, object]]:
    """Return one row a task, with its judgement."""
    return [
        {**asdict(finding), "is_good": finding.is_good(was_to_be_killed=finding.task in chosen)}
        for finding in findings
    ]


def write_results(path: Path, results: Mapping[str, object]) -> None:
    """Write the results as JSON, and as a page beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    path.with_suffix(".md").write_text(page_of(results))


def page_of(results: Mapping[str, object]) -> str:
    """Return the results as a page."""
    settings = "".join(f" --set {setting}" for setting in _texts(results["set"]))
    machine = results["machine"]
    told = "unknown"
    if isinstance(machine, dict):
        told = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    lines = [
        "# Every task killed once",
        "",
        "Each task's process was ended by SIGKILL after its step had begun, at a moment drawn by a",
        "seeded generator, and the run resumed. The outputs are those of an undisturbed run.",
        "",
        f"`worldloom chaos pipeline --preset {results['preset']} --seed {results['seed']}"
        f"{settings}`",
        "",
        f"Machine: {told}.",
        "",
        "| task | usual s | killed after s | resumed | went on | orphans | digests equal |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table_rows(results):
        cells = ["-" if value is None else _cell(value) for value in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table_rows(results: Mapping[str, object]) -> list[Row]:
    """Return what a table shows of each task."""
    columns = (
        "task", "usual_seconds", "killed_after_seconds", "resumed", "went_on", "orphans",
        "digests_equal",
    )  # fmt: skip
    rows = results["tasks"]
    assert isinstance(rows, list)
    return [{name: row[name] for name in columns} for row in rows]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


@contextmanager
def _fresh_folder() -> Iterator[Path]:
    """Give a folder for state; the caller removes it when nothing is to be seen there."""
    for name in _FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    yield Path(tempfile.mkdtemp(prefix="worldloom-chaos-"))


@contextmanager
def _runs_end_with_this(home: Path) -> Iterator[None]:
    """Leave no run of this home behind, however this command ends."""
    from pipelines.local import cancel_run
    from pipelines.run_record import list_runs

    try:
        yield
    finally:
        for folder in list_runs(home):
            cancel_run(folder)


def _prepared(home: Path, preset: str, overrides: list[str]) -> PreparedRun:
    from cli.pipeline_requests import starter_folder
    from pipelines.local import RunRequest, prepare_run

    return prepare_run(
        RunRequest(
            home=home,
            store=str(home / "store"),
            preset=preset,
            overrides=tuple(overrides),
            starter=starter_folder(from_scratch=False),
        )
    )


def _compare(
    first: PreparedRun,
    prepare: Callable[[str], PreparedRun],
    chosen: Sequence[str],
    *,
    seed: int,
    output: Output,
) -> dict[str, object]:
    """Run the first undisturbed and others disturbed, and lay them side by side.

    A task that ended before its moment, because the machine has become faster since, gets another
    round in another home.
    """
    from pipelines.kill_drill import LocalRuns, draw_moments, findings, merged, run_drill
    from services.tracking_server import TrackingServer

    statuses = _undisturbed(first, output)
    expected = {task: status.outputs for task, status in statuses.items()}
    records = _records(first, expected)
    usual = {task: record.seconds for task, record in records.items()}
    generator = random.Random(seed)
    found: list[Finding] = []
    left = list(chosen)
    for index in range(_MAX_ROUNDS):
        prepared = prepare(f"disturbed-{index + 1}")
        home = prepared.request.home
        runs = LocalRuns(prepared)
        with TrackingServer(home), _runs_end_with_this(home):  # resumed runs use one server
            moments = draw_moments(usual, left, generator)
            drill = run_drill(runs, moments, tell=lambda text: say(text, output))
        found = merged(found, findings(runs, drill, expected))
        left = [f.task for f in found if f.task in left and f.killed_after_seconds is None]
        if not left:
            break
        say(f"ended before their moments: {', '.join(left)}", output)
        again = _records(prepared, expected)
        usual |= {task: again[task].seconds for task in left}
    rows = [{"usual_seconds": usual[str(row["task"])], **row} for row in rows_of(found, chosen)]
    provenance = next(iter(records.values())).provenance
    return {
        "machine": {name: provenance.get(name) for name in _MACHINE_KEYS},
        "killed": list(chosen),
        "tasks": [row | {"outputs": dict(expected[str(row["task"])])} for row in rows],
        "is_good": all(row["is_good"] for row in rows),
    }


def _undisturbed(prepared: PreparedRun, output: Output) -> Mapping[str, TaskStatus]:
    """Run to the end without a blow and return what the tasks say."""
    from components.task_status import elapsed_seconds
    from pipelines.kill_drill import LocalRuns
    from services.tracking_server import TrackingServer
    from worldloom.errors import MachineError

    runs = LocalRuns(prepared)
    home = prepared.request.home
    with TrackingServer(home), _runs_end_with_this(home):
        folder = runs.start()
        say(f"undisturbed run: {folder}", output)
        result = runs.wait(folder)
    if result.state != "done":
        message = f"the undisturbed run {result.state}: {result.message}; see {folder}"
        raise MachineError(message)
    statuses = runs.statuses(folder)
    took = [f"{task} {elapsed_seconds(status):.1f} s" for task, status in statuses.items()]
    say(f"undisturbed: {', '.join(took)}", output)
    return statuses


def _records(prepared: PreparedRun, tasks: Iterable[str]) -> dict[str, StepRecord]:
    """Return what the store of a finished run remembers of these tasks."""
    from components.step_record import read_latest_record

    records = {task: read_latest_record(prepared.store, task) for task in tasks}
    return {task: record for task, record in records.items() if record is not None}


def _answer(results: Mapping[str, object], output: Output) -> None:
    next_command = "worldloom pipeline explain"
    if output is Output.JSON:
        emit_fields(results, output, next_command=next_command)
        return
    emit_rows(table_rows(results), output)
    say_next(next_command, output)
