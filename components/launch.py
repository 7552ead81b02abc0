"""How KFP's tasks start the project's steps: the one call that every interface makes.

A step whose result is in the store is answered from its record, without importing its module (and
torch); any other is imported and run. KFP's artifacts are marked with the digests. It knows neither
kfp nor what the steps do.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections import namedtuple
from collections.abc import Mapping
from typing import Protocol

from components.code_digest import code_files, digest_of_files
from components.local_report import reported
from components.reuse import StepRequest, Verdict, judge
from components.runtime import execute, home_folder
from components.step_record import mark_latest, read_step_record, step_key
from worldloom.artifacts import is_digest
from worldloom.config import canonical_json
from worldloom.errors import ArtifactError
from worldloom.log import configure_logging, log_event
from worldloom.store import ArtifactStore, open_store

logger = logging.getLogger(__name__)


class LineageArtifact(Protocol):
    """What is used of KFP's output artifacts."""

    uri: str
    metadata: dict[str, object]


def launch(
    entry: str,
    *,
    config: str,
    code: str,
    parents: Mapping[str, str],
    lineage: Mapping[str, LineageArtifact],
) -> tuple[str, ...]:
    """Run a step, or take its earlier result, and return its outputs as a named tuple.

    Args:
        entry: the step's module, with `STEP` and `run`; its last part is the step's name.
        config: the step's config as JSON text.
        code: digest of the code that the pipeline was made with; empty text for whatever is here.
        parents: digest of each input by role; empty text for an input that is not there.
        lineage: KFP's output artifacts by the output that they stand for.
    """
    task = entry.rpartition(".")[2]
    with reported(task) as report:
        if not logging.getLogger().handlers:
            configure_logging()
        verdict = _judge(entry, task, config=config, code=code, parents=parents)
        report.reused, report.reason = bool(verdict.reused), verdict.reason
        report.announce()
        outputs = verdict.outputs
        if not verdict.reused:
            module = vars(importlib.import_module(entry))
            outputs = execute(
                module["STEP"], module["run"], config=config, parents=parents, code=code
            )
        for name, artifact in lineage.items():
            artifact.metadata["digest"] = outputs[name]
        report.outputs = outputs
    return namedtuple("Outputs", list(outputs))(**outputs)


def _judge(entry: str, task: str, *, config: str, code: str, parents: Mapping[str, str]) -> Verdict:
    """Look the step up as `components.runtime` does; leave every doubt to it."""
    files = code_files(entry)
    actual = digest_of_files(files)
    if code not in {"", actual}:
        return Verdict(False, "the code here is not the code that was asked for")
    store = open_task_store()
    request = StepRequest(
        step=task, code=actual, code_files=files, config=json.loads(config), parents=parents
    )
    try:
        verdict = judge(store, request)
        if verdict.reused:
            _verify(store, verdict.outputs)
            _remember(store, request, parents)
    except ArtifactError as error:
        return Verdict(False, str(error))
    return verdict


def open_task_store() -> ArtifactStore:
    """Open the store that the environment names, or the one of this machine's state."""
    return open_store(os.environ.get("WORLDLOOM_STORE") or str(home_folder() / "store"))


def _verify(store: ArtifactStore, outputs: Mapping[str, str]) -> None:
    """Read every byte of what is about to be taken again."""
    for value in outputs.values():
        if is_digest(value):
            store.fetch(value)


def _remember(store: ArtifactStore, request: StepRequest, parents: Mapping[str, str]) -> None:
    config_json = canonical_json(dict(request.config))
    key = step_key(request.step, request.code, config_json, parents)
    record = read_step_record(store, key)
    if record is not None:
        mark_latest(store, record)
        log_event(logger, "step_reused", step=request.step, key=key)
