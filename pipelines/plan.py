"""What a run would do: which tasks are answered from the store, which run, and why.

The compiled pipeline is evaluated as KFP would: each task's parameters come from constants,
pipeline parameters or outputs of tasks before it. A task is named like its step with `-` for `_`;
its parameters are `config`, `code` and one digest per input. Nothing is run or imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Literal, cast

from components.code_digest import code_files, digest_of_files
from components.reuse import StepRequest, Verdict, judge
from pipelines.compile import IntermediateRepresentation
from pipelines.definition import PipelineDefinition
from worldloom.config import JsonValue
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
    definition: PipelineDefinition,
    ir: IntermediateRepresentation,
    arguments: Mapping[str, str],
    store: ArtifactStore,
) -> RunPlan:
    """Compare a pipeline and its arguments with the records in the store.

    Raises:
        StoreError: if the store cannot be read.
        ArtifactError: if an artifact that would be reused can be seen to be damaged.
    """
    tasks = dag_tasks(ir)
    known = _defaults(ir) | dict(arguments)
    outputs: dict[str, Mapping[str, str]] = {}
    planned: list[TaskPlan] = []
    for name in task_order(ir):
        values = {
            parameter: _value(spec, known, outputs)
            for parameter, spec in _parameters(tasks[name]).items()
        }
        task = name.replace("-", "_")
        parents = {key: value for key, value in values.items() if key not in _OWN_PARAMETERS}
        verdict = _verdict(definition.entries[task], task, values, parents, store)
        if verdict.reused:
            outputs[name] = verdict.outputs
        planned.append(_task_plan(task, verdict, parents))
    return RunPlan(planned)


def dag_tasks(ir: IntermediateRepresentation) -> dict[str, dict[str, JsonValue]]:
    """Return the tasks of the compiled pipeline by KFP's name."""
    root = cast("dict[str, dict[str, dict[str, dict[str, JsonValue]]]]", ir["root"])
    return root["dag"]["tasks"]  # type: ignore[return-value]


def task_order(ir: IntermediateRepresentation) -> list[str]:
    """Return KFP's task names, parents first and otherwise by name."""
    tasks = dag_tasks(ir)
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name in sorted(tasks):
        sorter.add(name, *cast("list[str]", tasks[name].get("dependentTasks", [])))
    return list(sorter.static_order())


def _parameters(task: Mapping[str, JsonValue]) -> dict[str, dict[str, JsonValue]]:
    inputs = cast("dict[str, dict[str, dict[str, JsonValue]]]", task.get("inputs", {}))
    return inputs.get("parameters", {})


def _defaults(ir: IntermediateRepresentation) -> dict[str, str]:
    root = cast("dict[str, dict[str, dict[str, dict[str, str]]]]", ir["root"])
    definitions = root.get("inputDefinitions", {}).get("parameters", {})
    return {
        name: spec["defaultValue"] for name, spec in definitions.items() if "defaultValue" in spec
    }


def _value(
    spec: Mapping[str, JsonValue],
    arguments: Mapping[str, str],
    outputs: Mapping[str, Mapping[str, str]],
) -> str | None:
    """Return what a task's parameter will be; None if a task that has yet to run decides it."""
    if "componentInputParameter" in spec:
        return arguments[str(spec["componentInputParameter"])]
    if "taskOutputParameter" in spec:
        source = cast("dict[str, str]", spec["taskOutputParameter"])
        return outputs.get(source["producerTask"], {}).get(source["outputParameterKey"])
    runtime = cast("dict[str, str]", spec["runtimeValue"])
    return runtime["constant"]


def _verdict(
    entry: str,
    task: str,
    values: Mapping[str, str | None],
    parents: Mapping[str, str | None],
    store: ArtifactStore,
) -> Verdict:
    files = code_files(entry)
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
