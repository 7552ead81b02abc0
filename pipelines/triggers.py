"""Retraining when new clips appear: exactly once per digest, and never in a circle.

What is new is a pure function of the records; a claim in the store makes it once, whoever looks.
Clips that were trained on already, and clips that a triggered run made itself, start nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from components.step_record import StepRecord
from worldloom.artifacts import digest_hex
from worldloom.config import parse_config
from worldloom.log import log_event
from worldloom.store import ArtifactStore, Record

logger = logging.getLogger(__name__)

_STEPS_PREFIX = "steps/"
_TRIGGERS_PREFIX = "triggers/"


def new_clips(records: Iterable[StepRecord], triggers: Mapping[str, Record]) -> list[str]:
    """Return the digests of clips that nobody has trained on or asked to, oldest first.

    Args:
        records: records of finished steps.
        triggers: what earlier triggers did, by clips digest.
    """
    records = list(records)
    trained = {r.parents.get("clips") for r in records if r.step.startswith("train_")}
    started = {str(trigger["run_id"]) for trigger in triggers.values() if trigger.get("run_id")}
    fresh: list[str] = []
    for record in sorted(records, key=lambda record: record.started):
        digest = record.outputs.get("clips")
        if record.step != "ingest" or digest is None or digest in fresh:
            continue
        is_own = str(record.provenance.get("pipeline_run_id")) in started
        if digest not in trained and digest not in triggers and not is_own:
            fresh.append(digest)
    return fresh


def fire_triggers(store: ArtifactStore, start: Callable[[str], str]) -> list[tuple[str, str]]:
    """Start a run for each new clips digest and return (digest, run id) of those begun here.

    Args:
        store: where the records and claims are.
        start: starts a run on a clips digest and returns its id.
    """
    begun = []
    for digest in find_new_clips(store):
        name = f"{_TRIGGERS_PREFIX}{digest_hex(digest)}.json"
        claim = {"clips": digest, "claimed": time.time(), "run_id": ""}
        if not store.put_record(name, claim, if_absent=True):
            continue  # another one was quicker
        run_id = start(digest)
        store.put_record(name, {**claim, "run_id": run_id})
        log_event(logger, "trigger_fired", clips=digest, run_id=run_id)
        begun.append((digest, run_id))
    return begun


def find_new_clips(store: ArtifactStore) -> list[str]:
    """Read the records and return what is new."""
    records = []
    for name in store.list_records(_STEPS_PREFIX):
        value = store.get_record(name)
        if value is not None:
            records.append(parse_config(StepRecord, value, where=name))
    triggers: dict[str, Record] = {}
    for name in store.list_records(_TRIGGERS_PREFIX):
        trigger = store.get_record(name)
        if trigger is not None:
            triggers[str(trigger["clips"])] = trigger
    return new_clips(records, triggers)
