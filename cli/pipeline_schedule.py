"""`worldloom pipeline schedule add|list|remove|run|submit` and `worldloom pipeline trigger`.

Thin: clocks are in `pipelines.schedule`, what is new in `pipelines.triggers`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows, say, say_next
from cli.pipeline_requests import cluster_profile, home, starter_folder, store_address

if TYPE_CHECKING:
    from pipelines.schedule import Schedule, ScheduleState

app = typer.Typer(
    help="Run pipelines by the clock.", rich_markup_mode=None, pretty_exceptions_enable=False
)

NameArgument = Annotated[str, typer.Argument(help="Name of the schedule.")]


@app.command()
def add(  # noqa: PLR0913 - an option each
    name: NameArgument,
    cron: Annotated[str, typer.Option(help="minute hour day month weekday, quoted.")],
    timezone: Annotated[str, typer.Option(help="IANA time zone.")] = "UTC",
    pipeline: Annotated[str, typer.Option(help="Pipeline to start.")] = "world_model",
    preset: Annotated[str, typer.Option(help="Preset of its runs.")] = "demo",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="task.dotted.path=value of its runs.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train without the starter weights.")
    ] = False,
    overlap: Annotated[
        str, typer.Option(help="While its last run is under way: skip or replace.")
    ] = "skip",
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a schedule, or replace the one of that name."""
    from pipelines.definition import find_pipeline
    from pipelines.schedule import Schedule, add_schedule
    from worldloom.config import parse_config

    values = {
        "name": name,
        "cron": cron,
        "timezone": timezone,
        "pipeline": find_pipeline(pipeline).reference,
        "preset": preset,
        "overrides": tuple(set_ or ()),
        "from_scratch": from_scratch,
        "overlap": overlap,
    }
    schedule = parse_config(Schedule, values, where="schedule")
    following = [instant.isoformat() for instant in schedule.next_fires(datetime.now(UTC), 3)]
    add_schedule(home(), schedule)
    fields = {"name": name, "cron": schedule.cron, "timezone": timezone, "next": following}
    emit_fields(fields, output, next_command="worldloom pipeline schedule run")


@app.command("list")
def list_(output: OutputOption = Output.TABLE) -> None:
    """List the schedules, when they fire next and what they did last."""
    from pipelines.schedule import list_schedules, read_state

    now = datetime.now(UTC)
    rows = []
    for schedule in list_schedules(home()):
        state = read_state(home(), schedule.name)
        rows.append(
            {
                "name": schedule.name,
                "cron": schedule.cron,
                "timezone": schedule.timezone,
                "pipeline": schedule.pipeline,
                "preset": schedule.preset,
                "overlap": schedule.overlap,
                "next": schedule.next_fire(now).isoformat(),
                "last": state.fired or None,
                "outcome": state.outcome or None,
            }
        )
    emit_rows(rows, output, next_command="worldloom pipeline schedule run")


@app.command()
def remove(name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Forget a schedule; its runs stay."""
    from pipelines.schedule import remove_schedule

    remove_schedule(home(), name)
    fields = {"removed": name}
    emit_fields(fields, output, next_command="worldloom pipeline schedule list")


@app.command("run")
def run_(
    max_fires: Annotated[int, typer.Option(help="End after so many fires; 0: never.")] = 0,
    store: Annotated[str, typer.Option(help="Artifact store of the runs.")] = "",
) -> None:
    """Fire due schedules in the foreground until interrupted; missed ones are not made up for."""
    from pipelines.schedule_loop import LocalRunStarter, SystemClock, run_schedules

    say("waiting for schedules (interrupt to end; runs under way go on)", Output.TABLE)
    run_schedules(
        home(),
        LocalRunStarter(home(), store_address(store)),
        clock=SystemClock(),
        report=_report,
        max_fires=max_fires or None,
    )
    say_next("worldloom pipeline list", Output.TABLE)


@app.command()
def submit(
    name: NameArgument,
    endpoint: Annotated[
        str, typer.Option(help="Address of Kubeflow Pipelines' API; empty: only show.")
    ] = "",
    store: Annotated[str, typer.Option(help="Artifact store of the runs.")] = "",
    image: Annotated[
        list[str] | None, typer.Option("--image", help="step=name@sha256:digest.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option("--profile", help="JSON file of the cluster's settings.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a schedule a cluster's recurring runs, or show what they would be."""
    from pipelines.recurring import recurring_runs
    from pipelines.schedule import find_schedule

    schedule = find_schedule(home(), name)
    runs = recurring_runs(schedule, datetime.now(UTC))
    if endpoint:
        _submit(schedule, endpoint, store, image, profile)
    rows = [run.model_dump(mode="json") for run in runs]
    emit_rows(rows, output, next_command=f"worldloom pipeline schedule remove {name}")


def add_trigger(pipeline_app: typer.Typer) -> None:
    """Add `worldloom pipeline trigger`."""
    pipeline_app.command()(trigger)


def trigger(
    preset: Annotated[str, typer.Option(help="Preset of the runs.")] = "demo",
    store: Annotated[str, typer.Option(help="Artifact store.")] = "",
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train without the starter weights.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only tell what is new.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Retrain on clips that nobody has trained on yet, once for each digest."""
    from pipelines.incumbent import with_incumbent
    from pipelines.local import RunRequest, prepare_run, start_run, wait_for_run
    from pipelines.triggers import find_new_clips, fire_triggers
    from worldloom.store import open_store

    opened = open_store(store_address(store))
    if dry_run:
        rows = [{"clips": digest, "run_id": None} for digest in find_new_clips(opened)]
        emit_rows(rows, output, next_command="worldloom pipeline trigger")
        return

    def start(digest: str) -> str:
        request = RunRequest(
            home=home(),
            store=store_address(store),
            pipeline="retraining",
            preset=preset,
            arguments={"clips": digest},
            starter=starter_folder(from_scratch=from_scratch),
        )
        folder = start_run(with_incumbent(prepare_run(request)))
        say(f"run {folder.name} retrains on {digest}", output)
        wait_for_run(folder)
        return folder.name

    begun = fire_triggers(opened, start)
    rows = [{"clips": digest, "run_id": run_id} for digest, run_id in begun]
    emit_rows(rows, output, next_command="worldloom pipeline list")


def _submit(
    schedule: Schedule, endpoint: str, store: str, images: list[str] | None, profile: Path | None
) -> None:
    from pipelines.local import RunRequest, prepare_run
    from pipelines.submit import submit_schedule

    request = RunRequest(
        home=home(),
        store=store_address(store),
        pipeline=schedule.pipeline,
        preset=schedule.preset,
        overrides=schedule.overrides,
        arguments=schedule.arguments,
        starter=starter_folder(from_scratch=schedule.from_scratch),
    )
    submit_schedule(
        prepare_run(request), schedule, endpoint=endpoint, profile=cluster_profile(profile, images)
    )


def _report(schedule: Schedule, state: ScheduleState) -> None:
    typer.echo(f"{state.fired} {schedule.name}: {state.outcome}")
