"""`worldloom demo`: the whole path once, from captured worlds to frames of a real server.

It runs the pipeline, serves what the registry calls champion, walks through it by recorded actions
and writes down what came of it. The parts are those of `pipeline run`, `serve` and `play`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, say
from worldloom.config import JsonValue

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for what comes of it.")] = Path("out/demo"),
    preset: Annotated[str, typer.Option(help="Settings: demo or smallest.")] = "demo",
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train without the starter weights.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="task.dotted.path=value, over everything.")
    ] = None,
    frames: Annotated[int, typer.Option(min=12, help="Frames to walk.")] = 240,
    output: OutputOption = Output.TABLE,
) -> None:
    """Capture, train, distil, quantize, judge, promote, serve and walk; then show it."""
    from cli.demo_summary import complete_summary, write_demo
    from cli.demo_walk import champion, record_walks, walk_release
    from services.processes import free_port

    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    stages: dict[str, dict[str, JsonValue]] = {}
    run_folder = _run_pipeline(preset, set_ or [], from_scratch=from_scratch, output=output)
    pipeline_seconds = time.monotonic() - started
    stages |= _pipeline_stages(run_folder)
    _tell_decision(run_folder, output)
    release, size = champion()
    with _stage(stages, "record_walks", "actions and ground truth of unseen worlds", output):
        walks = record_walks(out, size, num_frames=frames)
    with _stage(stages, "serve_and_walk", "a server lives as long as the demo", output):
        played = walk_release(release, walks, port=free_port())
    with _stage(stages, "report", "written from this run's figures", output):
        fields = write_demo(out, run_folder, walks, played, stages)
    complete_summary(
        out,
        stages,
        pipeline_seconds=pipeline_seconds,
        total_seconds=time.monotonic() - started,
    )
    emit_fields(fields, output, next_command="worldloom serve")


def _run_pipeline(preset: str, overrides: list[str], *, from_scratch: bool, output: Output) -> Path:
    from cli.pipeline_requests import home, starter_folder, store_address
    from cli.pipeline_runs import leave_on_failure, wait_for_end
    from pipelines import local
    from pipelines.incumbent import with_incumbent

    request = local.RunRequest(
        home=home(),
        store=store_address(),
        preset=preset,
        overrides=tuple(overrides),
        starter=starter_folder(from_scratch=from_scratch),
    )
    folder = local.start_run(with_incumbent(local.prepare_run(request)))
    result = wait_for_end(folder, cancel_on_interrupt=True)
    if result.exit_code:
        say(f"the run's folder: {folder}", output)
    leave_on_failure(result, "; run the demo again to go on from the last finished task")
    return folder


def _pipeline_stages(run_folder: Path) -> dict[str, dict[str, JsonValue]]:
    from pipelines.run_record import task_statuses

    return {
        status.task: {
            "seconds": round(status.seconds or 0.0, 2),
            "reused": bool(status.reused),
            "reason": status.reason,
        }
        for status in task_statuses(run_folder)
    }


def _tell_decision(run_folder: Path, output: Output) -> None:
    """Say what the gate decided; stop where it refused and nothing else can be served."""
    from cli.demo_summary import statuses_of
    from cli.pipeline_requests import store_address
    from services.registry import current_champion
    from worldloom.errors import PromotionError
    from worldloom.store import open_store

    promoted = statuses_of(run_folder)["promote"].outputs
    say(f"gate: {promoted['decision']} ({promoted['reasons']})", output)
    champion = current_champion(open_store(store_address()))
    if champion is None:
        message = (
            "the gate refused this release and there is no champion to serve instead: "
            f"{promoted['reasons']}"
        )
        raise PromotionError(message)
    if champion.release != statuses_of(run_folder)["quantize"].outputs["release"]:
        say(f"serving the champion as it was, version {champion.version}", output)


@contextmanager
def _stage(
    stages: dict[str, dict[str, JsonValue]], name: str, reason: str, output: Output
) -> Iterator[None]:
    say(f"{name} ...", output)
    started = time.monotonic()
    yield
    seconds = round(time.monotonic() - started, 2)
    stages[name] = {"seconds": seconds, "reused": False, "reason": reason}
    say(f"{name}: {seconds:.1f} s", output)
