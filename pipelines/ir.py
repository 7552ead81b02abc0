"""The parts of KFP's intermediate representation that the planner reads, typed.

It knows field names of the IR's JSON form; everything else in it is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class TaskOutput(_Part):
    """An output of a task that runs before."""

    producer_task: str
    output_parameter_key: str


class RuntimeValue(_Part):
    """A constant."""

    constant: JsonValue = None


class ParameterSource(_Part):
    """Where one parameter of a task comes from: exactly one of these is there."""

    component_input_parameter: str | None = None
    task_output_parameter: TaskOutput | None = None
    runtime_value: RuntimeValue | None = None


class TaskInputs(_Part):
    """The parameters of a task."""

    parameters: dict[str, ParameterSource] = Field(default_factory=dict)


class TaskSpec(_Part):
    """One task of the graph."""

    inputs: TaskInputs = TaskInputs()
    dependent_tasks: tuple[str, ...] = ()


class Dag(_Part):
    """The graph."""

    tasks: dict[str, TaskSpec]

    def order(self) -> list[str]:
        """Return the tasks' names, parents first and otherwise by name."""
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for name in sorted(self.tasks):
            sorter.add(name, *self.tasks[name].dependent_tasks)
        return list(sorter.static_order())


class InputParameter(_Part):
    """A pipeline parameter."""

    default_value: str | None = None


class InputDefinitions(_Part):
    """The pipeline's parameters."""

    parameters: dict[str, InputParameter] = Field(default_factory=dict)


class Root(_Part):
    """The pipeline as a component."""

    dag: Dag
    input_definitions: InputDefinitions = InputDefinitions()


class PipelineSpec(_Part):
    """A compiled pipeline."""

    root: Root

    def defaults(self) -> dict[str, str]:
        """Return the pipeline parameters that have a default."""
        parameters = self.root.input_definitions.parameters.items()
        return {
            name: spec.default_value for name, spec in parameters if spec.default_value is not None
        }


def parse_ir(ir: Mapping[str, JsonValue]) -> PipelineSpec:
    """Return the typed form of an IR."""
    return PipelineSpec.model_validate(dict(ir))


def task_of(name: str) -> str:
    """Return the project's name of a task by KFP's, which has `-` for `_`."""
    return name.replace("-", "_")
