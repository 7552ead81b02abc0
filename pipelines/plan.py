"""What a run would do: which tasks are answered from the store, which run, and why.

The compiled pipeline is evaluated as KFP would: each task's parameters come from constants,
pipeline parameters or outputs of tasks before it. A task is named like its step with `-` for `_`;
its parameters are `config`, `code` and one digest per input. Nothing is run or imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from components.code_digest import digest_of_files
from components.reuse import StepRequest, Verdict, judge
from pipelines.ir import ParameterSource, PipelineSpec, task_of
from worldloom.store import ArtifactStore

Action = Literal["reuse", "run", "undecided"]
_OWN_PARAMETERS = frozenset({"config", "code"})


@dataclass(frozen=True)
class TaskPlan:
    """What a run would do with one task."""

    task: str
    action: Action
    reason: str
    parents: Mapping[str, str | None] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    expected_seconds: float | None = None


@dataclass(frozen=True)
class RunPlan:
    """What a run would do, task by task, in an order in which they can run."""

    tasks: Sequence[TaskPlan]

    @property
    def is_complete(self) -> bool:
        """Tell whether every task is answered from the store."""
        return all(task.action == "reuse" for task in self.tasks)

    def output(self, task: str, name: str) -> str | None:
        """Return an output of a task that is reused, None for any other."""
        for planned in self.tasks:
            if planned.task == task:
                return planned.outputs.get(name)
        return None


def make_plan(
    spec: PipelineSpec,
    arguments: Mapping[str, str],
    code: Mapping[str, Mapping[str, str]],
    store: ArtifactStore,
) -> RunPlan:
    """Compare a pipeline and its arguments with the records in the store.

    Args:
        spec: the compiled pipeline.
        arguments: the pipeline's parameters.
        code: sources of each task's code, by path to SHA-256.
        store: where the records are.

    Raises:
        StoreError: if the store cannot be read.
        ArtifactError: if an artifact that would be reused can be seen to be damaged.
    """
    known = spec.defaults() | dict(arguments)
    outputs: dict[str, Mapping[str, str]] = {}
    planned: list[TaskPlan] = []
    for name in spec.root.dag.order():
        sources = spec.root.dag.tasks[name].inputs.parameters
        values = {key: _value(source, known, outputs) for key, source in sources.items()}
        task = task_of(name)
        parents = {key: value for key, value in values.items() if key not in _OWN_PARAMETERS}
        verdict = _verdict(task, code[task], values, parents, store)
        if verdict.reused:
            outputs[name] = verdict.outputs
        planned.append(_task_plan(task, verdict, parents))
    return RunPlan(planned)


def _value(
    source: ParameterSource,
    arguments: Mapping[str, str],
    outputs: Mapping[str, Mapping[str, str]],
) -> str | None:
    """Return what a task's parameter will be; None if a task that has yet to run decides it."""
    if source.component_input_parameter is not None:
        return arguments[source.component_input_parameter]
    if source.task_output_parameter is not None:
        origin = source.task_output_parameter
        return outputs.get(origin.producer_task, {}).get(origin.output_parameter_key)
    return None if source.runtime_value is None else str(source.runtime_value.constant)


def _verdict(
    task: str,
    files: Mapping[str, str],
    values: Mapping[str, str | None],
    parents: Mapping[str, str | None],
    store: ArtifactStore,
) -> Verdict:
    request = StepRequest(
        step=task,
        code=digest_of_files(files),
        code_files=files,
        config=json.loads(values["config"] or "{}"),
        parents=parents,
    )
    return judge(store, request)


def _task_plan(task: str, verdict: Verdict, parents: Mapping[str, str | None]) -> TaskPlan:
    actions: dict[bool | None, Action] = {True: "reuse", False: "run", None: "undecided"}
    return TaskPlan(
        task=task,
        action=actions[verdict.reused],
        reason=verdict.reason,
        parents=parents,
        outputs=verdict.outputs,
        expected_seconds=verdict.expected_seconds,
    )
