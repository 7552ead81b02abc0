"""Runs on this machine: prepared, started in a process of their own, followed, cancelled.

A run whose every task is answered from the store is finished here at once, without kfp. Any other
is given to `pipelines.runner`. Everything that is known of a run is in its folder, so that another
terminal can follow or cancel it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

import pipelines
from components.code_digest import code_files, digest_of_files
from components.task_status import TaskStatus, write_status
from pipelines.compile import pipeline_ir
from pipelines.config import TaskValues, merged, preset_values, read_values, resolve_configs
from pipelines.definition import PipelineDefinition, find_pipeline
from pipelines.ir import PipelineSpec, parse_ir
from pipelines.plan import RunPlan, make_plan
from pipelines.run_record import (
    RUNNER_LOG,
    RunRecord,
    RunResult,
    list_runs,
    new_run_folder,
    read_result,
    read_run,
    run_state,
    runner_identity,
    task_statuses,
    write_result,
    write_run,
    write_runner,
)
from pipelines.starter import starter_values
from services.processes import ProcessIdentity, stop_group
from worldloom.artifacts import is_digest
from worldloom.config import JsonValue, canonical_json
from worldloom.errors import ConfigError, MachineError
from worldloom.log import log_event
from worldloom.store import ArtifactStore, open_store

logger = logging.getLogger(__name__)

CANCELLED_EXIT_CODE = 130
KILLED_EXIT_CODE = 137
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class RunRequest:
    """What is asked of a run.

    Attributes:
        home: folder of this machine's state.
        store: address of the artifact store.
        pipeline: name or reference of the pipeline.
        preset: settings to start from.
        config_file: JSON file of settings laid over the preset; None for none.
        values: settings laid over both, by task.
        overrides: `task.dotted.path=value`.
        arguments: free arguments of the pipeline.
        tracking: log to MLflow; its server is started if none is named in the environment.
        starter: folder of starter weights; None trains from nothing.
    """

    home: Path
    store: str
    pipeline: str = "world_model"
    preset: str = "demo"
    config_file: Path | None = None
    values: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    tracking: bool = True
    starter: Path | None = None


@dataclass(frozen=True)
class PreparedRun:
    """A request, checked and planned."""

    request: RunRequest
    definition: PipelineDefinition
    spec: PipelineSpec
    configs: Mapping[str, Mapping[str, JsonValue]]
    arguments: Mapping[str, str]
    code: Mapping[str, Mapping[str, str]]
    store: ArtifactStore
    plan: RunPlan

    def with_argument(self, name: str, value: str) -> PreparedRun:
        """Return the run with another value of one argument, planned again."""
        arguments = {**self.arguments, name: value}
        plan = make_plan(self.spec, arguments, self.code, self.store)
        return replace(self, arguments=arguments, plan=plan)


def prepare_run(request: RunRequest) -> PreparedRun:
    """Check a request and plan it; nothing is written but caches.

    Raises:
        ConfigError: for an unknown pipeline, preset, task, setting or argument.
        StoreError: if the store cannot be read.
    """
    definition = find_pipeline(request.pipeline)
    unknown = sorted(set(request.arguments) - set(definition.arguments))
    if unknown:
        message = (
            f"argument {unknown[0]!r}: pipeline {definition.name} takes "
            f"{', '.join(definition.arguments) or 'none'}"
        )
        raise ConfigError(message)
    cache = request.home / "cache"
    from_file = read_values(definition, request.config_file) if request.config_file else {}
    preset = preset_values(definition, request.preset)
    starter: TaskValues = {}
    if request.starter:
        starter = starter_values(definition, request.starter, request.preset)
    values = merged(preset, starter, from_file, request.values)
    code = {task: code_files(entry) for task, entry in definition.entries.items()}
    digests = {task: digest_of_files(files) for task, files in code.items()}
    configs = resolve_configs(
        definition, values, request.overrides, code=digests, cache=cache / "configs"
    )
    arguments = {**definition.arguments, **request.arguments}
    for task in definition.entries:
        arguments[f"{task}_config"] = canonical_json(configs[task])
        arguments[f"{task}_code"] = digests[task]
    spec = parse_ir(pipeline_ir(definition, cache / "pipelines"))
    store = open_store(request.store)
    plan = make_plan(spec, arguments, code, store)
    return PreparedRun(request, definition, spec, configs, arguments, code, store, plan)


def start_run(prepared: PreparedRun) -> Path:
    """Start a run and return its folder; one that needs no work is finished already.

    Raises:
        MachineError: if a run with the same configuration is under way.
        ArtifactError: if an artifact that would be reused is damaged.
    """
    _refuse_a_twin(prepared)
    if prepared.plan.is_complete:
        _verify_outputs(prepared)
    folder = new_run_folder(prepared.request.home)
    write_run(folder, _record(prepared, folder))
    for planned in prepared.plan.tasks:
        status = TaskStatus(
            task=planned.task, reason=planned.reason, expected_seconds=planned.expected_seconds
        )
        write_status(folder, status)
    if prepared.plan.is_complete:
        _finish_at_once(prepared, folder)
    else:
        _start_runner(folder)
    return folder


def wait_for_run(folder: Path, *, interval_seconds: float = 0.2) -> RunResult:
    """Wait until a run has ended and return how."""
    while run_state(folder) in {"starting", "running"}:
        time.sleep(interval_seconds)
    return conclude(folder)


def conclude(folder: Path) -> RunResult:
    """Return how a run ended; one whose process was killed counts as failed."""
    result = read_result(folder)
    if result is not None:
        return result
    return RunResult(
        state="failed",
        finished=time.time(),
        message=f"run {folder.name}: its process was killed",
        exit_code=KILLED_EXIT_CODE,
    )


def cancel_run(folder: Path) -> bool:
    """End the processes of one run, and no others; False if it had ended already."""
    identity = runner_identity(folder)
    if identity is None or not identity.is_alive():
        return False
    offspring = psutil.Process(identity.pid).children(recursive=True)
    stop_group(identity, grace_seconds=_GRACE_SECONDS)
    for process in offspring:
        if process.is_running():
            process.terminate()
    _, alive = psutil.wait_procs(offspring, timeout=_GRACE_SECONDS)
    for process in alive:
        process.kill()
    for status in task_statuses(folder):
        if status.state == "running":
            change = {"state": "failed", "error": "cancelled", "exit_code": CANCELLED_EXIT_CODE}
            write_status(folder, status.model_copy(update=change))
    message = f"run {folder.name} was cancelled"
    write_result(
        folder,
        RunResult(
            state="cancelled",
            finished=time.time(),
            message=message,
            exit_code=CANCELLED_EXIT_CODE,
        ),
    )
    log_event(logger, "run_cancelled", run_id=folder.name)
    return True


def resume_request(folder: Path, *, home: Path, tracking: bool = True) -> RunRequest:
    """Return the request that does a run again: finished tasks are answered from the store."""
    record = read_run(folder)
    definition = find_pipeline(record.pipeline)
    return RunRequest(
        home=home,
        store=record.store,
        pipeline=record.pipeline,
        preset=record.preset,
        values={task: dict(config) for task, config in record.configs.items()},
        arguments={name: record.arguments[name] for name in definition.arguments},
        tracking=tracking,
        starter=Path(record.starter) if record.starter else None,
    )


def _record(prepared: PreparedRun, folder: Path) -> RunRecord:
    request = prepared.request
    return RunRecord(
        run_id=folder.name,
        pipeline=prepared.definition.reference,
        preset=request.preset,
        config_file=str(request.config_file or ""),
        overrides=request.overrides,
        configs={task: dict(config) for task, config in prepared.configs.items()},
        arguments=dict(prepared.arguments),
        tasks=tuple(planned.task for planned in prepared.plan.tasks),
        store=prepared.store.uri,
        tracking=request.tracking,
        starter=str(request.starter.absolute()) if request.starter else "",
        created=time.time(),
    )


def _refuse_a_twin(prepared: PreparedRun) -> None:
    for folder in reversed(list_runs(prepared.request.home)):
        if run_state(folder) in {"starting", "running"}:
            record = read_run(folder)
            if record.arguments == prepared.arguments and record.store == prepared.store.uri:
                message = (
                    f"run {folder.name} with the same configuration is under way, "
                    "expected to watch or cancel it first"
                )
                raise MachineError(message)


def _verify_outputs(prepared: PreparedRun) -> None:
    for planned in prepared.plan.tasks:
        for value in planned.outputs.values():
            if is_digest(value):
                prepared.store.fetch(value)


def _finish_at_once(prepared: PreparedRun, folder: Path) -> None:
    now = time.time()
    for planned in prepared.plan.tasks:
        status = TaskStatus(
            task=planned.task,
            state="done",
            reused=True,
            reason=planned.reason,
            started=now,
            seconds=0.0,
            expected_seconds=planned.expected_seconds,
            outputs=dict(planned.outputs),
        )
        write_status(folder, status)
    write_result(folder, RunResult(state="done", finished=now))


def _start_runner(folder: Path) -> None:
    """Start the process that works on a run, with the project's sources in its path."""
    root = str(Path(pipelines.__file__).absolute().parents[1])
    known = os.environ.get("PYTHONPATH", "")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, known]))}
    with (folder / RUNNER_LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.runner", str(folder)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    identity = ProcessIdentity.of(process.pid) or ProcessIdentity(process.pid, 0.0)
    write_runner(folder, identity)
    log_event(logger, "run_started", run_id=folder.name, pid=process.pid)
