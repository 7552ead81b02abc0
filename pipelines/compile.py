"""From a pipeline's definition to KFP's intermediate representation, as a file or as plain JSON.

The JSON form is kept under the digest of the sources it came from, so that planning an unchanged
pipeline imports neither kfp nor the steps. Nothing here imports torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from components.code_digest import code_digest
from components.task_status import write_json
from pipelines.definition import PipelineDefinition
from pipelines.resources import LOCAL_PROFILE, Profile
from worldloom.config import JsonValue, digest_of, resolved
from worldloom.errors import ConfigError
from worldloom.log import log_event

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent

logger = logging.getLogger(__name__)


def build_pipeline(definition: PipelineDefinition, profile: Profile) -> BaseComponent:
    """Import the pipeline's module (and kfp) and trace its graph with a profile."""
    build: Callable[[Profile], BaseComponent] = vars(importlib.import_module(definition.module))[
        "build"
    ]
    return build(profile)


def compile_pipeline(definition: PipelineDefinition, profile: Profile, path: Path) -> None:
    """Write the YAML file that a cluster takes.

    Raises:
        ConfigError: if the file's ending is not one that KFP knows.
    """
    from kfp import compiler

    if path.suffix not in {".yaml", ".yml", ".json"}:
        message = f"--out {str(path)!r}: expected a file that ends in .yaml or .json"
        raise ConfigError(message)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(build_pipeline(definition, profile), str(path))
    log_event(logger, "pipeline_compiled", pipeline=definition.name, path=str(path))


def pipeline_ir(
    definition: PipelineDefinition, cache: Path, profile: Profile = LOCAL_PROFILE
) -> dict[str, JsonValue]:
    """Return the pipeline's IR as plain JSON, compiling it only if its sources changed."""
    key = digest_of(
        {
            "sources": code_digest(definition.module),
            "profile": resolved(profile),
            "kfp": importlib.metadata.version("kfp"),
        }
    )
    path = cache / f"{definition.name}-{key.removeprefix('sha256:')[:24]}.json"
    if path.is_file():
        cached: dict[str, JsonValue] = json.loads(path.read_text())
        return cached
    from google.protobuf import json_format

    spec = build_pipeline(definition, profile).pipeline_spec
    fresh: dict[str, JsonValue] = json_format.MessageToDict(spec)
    cache.mkdir(parents=True, exist_ok=True)
    write_json(path, fresh)
    return fresh
