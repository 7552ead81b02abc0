"""Which pipelines there are: their tasks, the modules behind them and their free arguments.

It names modules and imports none of them: listing, planning and validating need no kfp. Every
pipeline takes `<task>_config` and `<task>_code` for each of its tasks, and its free arguments.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from worldloom.errors import ConfigError

_STEP_OF_TASK = {
    "ingest": "ingestion",
    "train_vae": "training",
    "encode_latents": "training",
    "train_transformer": "training",
    "distil_student": "distillation",
    "train_actions": "training",
    "train_memory": "training",
    "distil_cold_start": "distillation",
    "distil_multi_segment": "distillation",
    "distil_decoder": "distillation",
    "quantize": "quantization",
    "evaluate": "evaluation",
    "promote": "promotion",
}


@dataclass(frozen=True)
class PipelineDefinition:
    """A pipeline as the planner and the command line see it.

    Attributes:
        name: what people type.
        module: the module with `build(profile)`, which imports kfp.
        entries: task to the module that does its work.
        arguments: free arguments with their default, as strings.
    """

    name: str
    module: str
    entries: Mapping[str, str]
    arguments: Mapping[str, str]

    @property
    def reference(self) -> str:
        """Return what `find_pipeline` turns back into this definition."""
        return self.name if self.name in PIPELINES else f"{self.module}:DEFINITION"


def _entries(*tasks: str) -> dict[str, str]:
    return {task: f"components.{_STEP_OF_TASK[task]}.{task}" for task in tasks}


_TO_LATENTS = ("ingest", "train_vae", "encode_latents")
_AT_ONCE = ("train_transformer", "distil_student")
_IN_STAGES = ("train_actions", "train_memory", "distil_cold_start", "distil_multi_segment")
_TO_RELEASE = ("distil_decoder", "quantize", "evaluate", "promote")

PIPELINES: Mapping[str, PipelineDefinition] = {
    "world_model": PipelineDefinition(
        name="world_model",
        module="pipelines.world_model",
        entries=_entries(*_TO_LATENTS, *_AT_ONCE, *_TO_RELEASE),
        arguments={"champion": ""},
    ),
    "staged": PipelineDefinition(
        name="staged",
        module="pipelines.staged",
        entries=_entries(*_TO_LATENTS, *_IN_STAGES, *_TO_RELEASE),
        arguments={"champion": ""},
    ),
    "retraining": PipelineDefinition(
        name="retraining",
        module="pipelines.retraining",
        entries=_entries(*_TO_LATENTS[1:], *_AT_ONCE, *_TO_RELEASE),
        arguments={"clips": "", "champion": ""},
    ),
    "evaluation_only": PipelineDefinition(
        name="evaluation_only",
        module="pipelines.evaluation_only",
        entries=_entries("evaluate"),
        arguments={"release": "", "clips": "", "champion": ""},
    ),
}


def find_pipeline(reference: str) -> PipelineDefinition:
    """Return a pipeline by its name, or by `module:ATTRIBUTE` for one kept elsewhere.

    Raises:
        ConfigError: if there is no such pipeline.
    """
    if reference in PIPELINES:
        return PIPELINES[reference]
    module, colon, attribute = reference.partition(":")
    if not colon:
        message = f"no pipeline {reference!r}; known: {', '.join(PIPELINES)}"
        raise ConfigError(message)
    found = vars(importlib.import_module(module)).get(attribute)
    if not isinstance(found, PipelineDefinition):
        message = f"{reference}: not a pipeline definition, but {found!r}"
        raise ConfigError(message)
    return found


def step_of(definition: PipelineDefinition, task: str) -> str:
    """Return the step folder (and so the image) a task belongs to."""
    return definition.entries[task].split(".")[-2]
