"""The configuration of a run: a preset, a file and overrides, resolved task by task.

Each task's own config class checks its part, so a mistyped key is refused before anything starts.
Those classes may stand in modules that import torch, so a resolved config is kept under the digest
of the task's code and of what was asked: an unchanged run imports none of them.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from components.task_status import write_json
from pipelines.definition import PipelineDefinition
from pipelines.presets import PRESETS
from worldloom.config import (
    Config,
    JsonValue,
    apply_overrides,
    digest_of,
    parse_config,
    resolved,
)
from worldloom.errors import ConfigError

TaskValues = Mapping[str, Mapping[str, JsonValue]]


def preset_values(definition: PipelineDefinition, preset: str) -> TaskValues:
    """Return a preset's settings for the tasks of a pipeline.

    Raises:
        ConfigError: if there is no such preset.
    """
    if preset not in PRESETS:
        message = f"no preset {preset!r}; known: {', '.join(PRESETS)}"
        raise ConfigError(message)
    return {task: values for task, values in PRESETS[preset].items() if task in definition.entries}


def read_values(definition: PipelineDefinition, path: Path) -> TaskValues:
    """Return the settings in a JSON file: an object per task.

    Raises:
        ConfigError: if it cannot be read, is no such object or names another task.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path}: expected a JSON file of settings by task ({error})"
        raise ConfigError(message) from error
    if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
        message = f"{path}: expected a JSON object with an object of settings per task"
        raise ConfigError(message)
    for task in values:
        _require_task(definition, task)
    return values


def merged(*layers: TaskValues) -> dict[str, dict[str, JsonValue]]:
    """Lay settings over each other, later ones on top, objects within objects merged."""
    result: dict[str, dict[str, JsonValue]] = {}
    for layer in layers:
        for task, values in layer.items():
            result[task] = _merged_objects(result.get(task, {}), values)
    return result


def resolve_configs(
    definition: PipelineDefinition,
    values: TaskValues,
    overrides: Iterable[str],
    *,
    code: Mapping[str, str],
    cache: Path,
) -> dict[str, dict[str, JsonValue]]:
    """Return every task's full configuration, checked by its own class.

    Args:
        definition: the pipeline.
        values: settings by task; what is absent keeps its default.
        overrides: `task.dotted.path=value`, each a JSON value or text.
        code: digest of each task's code.
        cache: folder of configurations that were resolved before.

    Raises:
        ConfigError: naming the task, the path, the rule and the value of the first mistake.
    """
    by_task: dict[str, list[str]] = {}
    for override in overrides:
        task, _, rest = override.partition(".")
        if "=" in task or not rest:
            message = f"override {override!r}: expected task.dotted.path=value"
            raise ConfigError(message)
        _require_task(definition, task)
        by_task.setdefault(task, []).append(rest)
    configs = {}
    for task, entry in definition.entries.items():
        given, over = values.get(task, {}), by_task.get(task, [])
        asked = digest_of({"code": code[task], "values": dict(given), "overrides": over})
        path = cache / f"{task}-{asked.removeprefix('sha256:')[:24]}.json"
        if path.is_file():
            configs[task] = json.loads(path.read_text())
        else:
            configs[task] = _resolve(entry, task, given, over)
            cache.mkdir(parents=True, exist_ok=True)
            write_json(path, configs[task])
    return configs


def _resolve(
    entry: str, task: str, values: Mapping[str, JsonValue], overrides: list[str]
) -> dict[str, JsonValue]:
    try:
        cls = _config_class(entry)
        return resolved(apply_overrides(parse_config(cls, values, where=task), overrides))
    except ConfigError as error:
        told = str(error)
        message = told if told.startswith(task) else f"{task}.{told}"
        raise ConfigError(message) from error


def _config_class(entry: str) -> type[Config]:
    """Return a task's config class; its module is imported only here."""
    step = vars(importlib.import_module(entry))["STEP"]
    cls: type[Config] = step.config
    return cls


def _require_task(definition: PipelineDefinition, task: str) -> None:
    if task not in definition.entries:
        message = (
            f"{task}: pipeline {definition.name} has no such task; "
            f"known: {', '.join(definition.entries)}"
        )
        raise ConfigError(message)


def _merged_objects(
    below: Mapping[str, JsonValue], above: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = _merged_objects(old, value)
        else:
            result[key] = value
    return result
