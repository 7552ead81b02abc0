"""`worldloom pipeline`: run, explain, resume, compile and submit pipelines.

Thin: it turns options into a request, and a run's end into an answer. What other terminals see of
runs is in `cli.pipeline_runs`, clocks and triggers in `cli.pipeline_schedule`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import pipeline_runs, pipeline_schedule
from cli.output import Output, OutputOption, emit_fields, emit_rows, say
from cli.pipeline_requests import cluster_profile, home, pairs, starter_folder, store_address

if TYPE_CHECKING:
    from pipelines.local import PreparedRun, RunRequest

app = typer.Typer(
    help="Run, follow, explain, compile and schedule pipelines.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(pipeline_schedule.app, name="schedule")
pipeline_schedule.add_trigger(app)
pipeline_runs.add_to(app)

PipelineOption = Annotated[str, typer.Option("--pipeline", help="Name of the pipeline.")]
PresetOption = Annotated[str, typer.Option(help="Settings to start from: demo or smallest.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="JSON file of settings by task, over the preset.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="task.dotted.path=value, over everything.")
]
ArgumentOption = Annotated[
    list[str] | None, typer.Option("--argument", help="name=value, an argument of the pipeline.")
]
ChampionOption = Annotated[
    str, typer.Option(help="Release to beat: a digest, none, or auto for the registry's champion.")
]
StoreOption = Annotated[
    str, typer.Option(help="Artifact store; by default WORLDLOOM_STORE or <home>/store.")
]
ScratchOption = Annotated[
    bool, typer.Option("--from-scratch", help="Train without the starter weights.")
]
TrackingOption = Annotated[bool, typer.Option(help="Log to MLflow.")]
ImageOption = Annotated[
    list[str] | None, typer.Option("--image", help="step=name@sha256:digest, the step's image.")
]
ProfileOption = Annotated[
    Path | None, typer.Option("--profile", help="JSON file of the cluster's settings.")
]


@dataclass(frozen=True)
class _Options:
    """The options that say what a run is."""

    pipeline: str
    preset: str
    config: Path | None
    overrides: list[str] | None
    arguments: list[str] | None
    store: str
    from_scratch: bool

    def request(self, *, tracking: bool) -> RunRequest:
        from pipelines.local import RunRequest

        return RunRequest(
            home=home(),
            store=store_address(self.store),
            pipeline=self.pipeline,
            preset=self.preset,
            config_file=self.config,
            overrides=tuple(self.overrides or ()),
            arguments=pairs(self.arguments, "--argument"),
            tracking=tracking,
            starter=starter_folder(from_scratch=self.from_scratch),
        )


@app.command()
def run(  # noqa: PLR0913 - an option each
    pipeline: PipelineOption = "world_model",
    preset: PresetOption = "demo",
    config: ConfigOption = None,
    set_: SetOption = None,
    argument: ArgumentOption = None,
    champion: ChampionOption = "auto",
    store: StoreOption = "",
    from_scratch: ScratchOption = False,
    tracking: TrackingOption = True,
    profile: ProfileOption = None,
    detach: Annotated[bool, typer.Option(help="Return at once; watch it later.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a pipeline on this machine; what is unchanged is taken from the store."""
    options = _Options(pipeline, preset, config, set_, argument, store, from_scratch)
    request = options.request(tracking=tracking)
    prepared = _prepared(request, champion)
    if profile is not None:
        _name_what_is_left_out(prepared, profile, output)
    _start(prepared, detach=detach, output=output)


@app.command()
def explain(  # noqa: PLR0913 - an option each
    pipeline: PipelineOption = "world_model",
    preset: PresetOption = "demo",
    config: ConfigOption = None,
    set_: SetOption = None,
    argument: ArgumentOption = None,
    champion: ChampionOption = "auto",
    store: StoreOption = "",
    from_scratch: ScratchOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell which tasks a run would reuse, which it would run, and why; run nothing."""
    options = _Options(pipeline, preset, config, set_, argument, store, from_scratch)
    request = options.request(tracking=False)
    prepared = _prepared(request, champion)
    rows = [
        {
            "task": planned.task,
            "action": planned.action,
            "reason": planned.reason,
            "expected_seconds": planned.expected_seconds,
        }
        for planned in prepared.plan.tasks
    ]
    emit_rows(rows, output, next_command=f"worldloom pipeline run --preset {preset}")


@app.command()
def resume(
    run_id: Annotated[str, typer.Argument(help="Run to do again, or latest.")] = "latest",
    tracking: TrackingOption = True,
    detach: Annotated[bool, typer.Option(help="Return at once; watch it later.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a run's configuration again; finished tasks are taken from the store."""
    from pipelines.local import prepare_run, resume_request
    from pipelines.run_record import find_run

    request = resume_request(find_run(home(), run_id), home=home(), tracking=tracking)
    _start(prepare_run(request), detach=detach, output=output)


@app.command("compile")
def compile_(
    out: Annotated[Path, typer.Option(help="File to write, .yaml or .json.")] = Path(
        "out/world_model.yaml"
    ),
    pipeline: PipelineOption = "world_model",
    image: ImageOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Compile a pipeline to the file that a Kubeflow cluster takes."""
    from pipelines.compile import compile_pipeline
    from pipelines.definition import find_pipeline

    definition = find_pipeline(pipeline)
    compile_pipeline(definition, cluster_profile(profile, image), out)
    fields = {"pipeline": definition.name, "tasks": len(definition.entries), "file": str(out)}
    emit_fields(fields, output, next_command="worldloom pipeline submit --endpoint URL")


@app.command()
def submit(  # noqa: PLR0913 - an option each
    endpoint: Annotated[str, typer.Option(help="Address of Kubeflow Pipelines' API.")] = "",
    pipeline: PipelineOption = "world_model",
    preset: PresetOption = "demo",
    config: ConfigOption = None,
    set_: SetOption = None,
    argument: ArgumentOption = None,
    store: StoreOption = "",
    from_scratch: ScratchOption = False,
    image: ImageOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Submit a run to a cluster; every image must be pinned by its digest."""
    from pipelines.local import prepare_run
    from pipelines.submit import submit_run

    options = _Options(pipeline, preset, config, set_, argument, store, from_scratch)
    request = options.request(tracking=False)
    submitted = submit_run(
        prepare_run(request),
        endpoint=endpoint or os.environ.get("KFP_ENDPOINT", ""),
        profile=cluster_profile(profile, image),
    )
    emit_fields(submitted, output, next_command=f"open {submitted['url']}")


def _name_what_is_left_out(prepared: PreparedRun, path: Path, output: Output) -> None:
    from pipelines.resources import read_profile, unhonoured_locally

    for sentence in unhonoured_locally(read_profile(path), prepared.definition.entries):
        say(f"not applied on this machine: {sentence}", output)


def _start(prepared: PreparedRun, *, detach: bool, output: Output) -> None:
    from pipelines.local import start_run

    folder = start_run(prepared)
    if detach:
        fields = {"run_id": folder.name, "folder": str(folder)}
        emit_fields(fields, output, next_command=f"worldloom pipeline watch {folder.name}")
    else:
        pipeline_runs.follow_to_the_end(folder, output, cancel_on_interrupt=True)


def _prepared(request: RunRequest, champion: str) -> PreparedRun:
    from pipelines.incumbent import with_incumbent
    from pipelines.local import prepare_run

    return with_incumbent(prepare_run(request), champion)
