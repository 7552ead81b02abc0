"""What is remembered of a finished step: its key, what went in, what came out, who made it.

`steps/<key>.json` holds one finished step; `latest/<step>.json` names the key that a step had last,
so that a planner can say what has changed since. The key is a function of the step's name, the
digest of its code, its resolved config and its parents' digests, and of nothing else. This module
knows neither how a step runs nor how a plan is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import Field, JsonValue

from worldloom.config import Config, canonical_json, digest_of, parse_config, resolved
from worldloom.store import ArtifactStore


class StepRecord(Config):
    """One finished step."""

    step: str = Field(description="name of the step")
    key: str = Field(description="cache key, 64 hexadecimal digits")
    config: dict[str, JsonValue] = Field(description="resolved config")
    parents: dict[str, str] = Field(description="digest of each input; empty if none was given")
    code: str = Field(description="digest of the code")
    code_files: dict[str, str] = Field(description="SHA-256 of each source by path")
    outputs: dict[str, str] = Field(description="digest, or plain text, of each output")
    seconds: float = Field(description="duration of the run that finished, seconds")
    started: str = Field(description="start of that run, UTC, ISO 8601")
    provenance: dict[str, JsonValue] = Field(description="who made it; in no digest")


def step_key(step_name: str, code_digest: str, config_json: str, parents: Mapping[str, str]) -> str:
    """Return a step's cache key: 64 hexadecimal digits, safe as a file's name.

    Args:
        step_name: name of the step.
        code_digest: what `code_digest` returned for the step's entry module.
        config_json: the resolved config (every default filled in) as JSON, in any layout.
        parents: digest of each input by role.
    """
    content = {
        "step": step_name,
        "code": code_digest,
        "config": json.loads(config_json),
        "parents": dict(parents),
    }
    return digest_of(content).removeprefix("sha256:")


def resolved_json(config: Config) -> str:
    """Return a config's canonical JSON with every default filled in."""
    return canonical_json(resolved(config))


def record_name(key: str) -> str:
    """Return the name of the record of a finished step."""
    return f"steps/{key}.json"


def latest_name(step_name: str) -> str:
    """Return the name of the record that points to a step's last key."""
    return f"latest/{step_name}.json"


def read_step_record(store: ArtifactStore, key: str) -> StepRecord | None:
    """Return the record of a finished step, or None where it never finished.

    Raises:
        StoreError: if the store cannot be read.
        ConfigError: if the record has another layout than this version writes.
    """
    name = record_name(key)
    value = store.get_record(name)
    return None if value is None else parse_config(StepRecord, value, where=name)


def read_latest_record(store: ArtifactStore, step_name: str) -> StepRecord | None:
    """Return the record of the run that finished, or was reused, last for a step."""
    pointer = store.get_record(latest_name(step_name))
    return None if pointer is None else read_step_record(store, str(pointer["key"]))


def write_step_record(store: ArtifactStore, record: StepRecord) -> None:
    """Remember a finished step and make it the step's latest."""
    store.put_record(record_name(record.key), record.model_dump(mode="json"))
    mark_latest(store, record)


def mark_latest(store: ArtifactStore, record: StepRecord) -> None:
    """Make a record its step's latest; nothing is written if it is already."""
    pointer = {"step": record.step, "key": record.key}
    if store.get_record(latest_name(record.step)) != pointer:
        store.put_record(latest_name(record.step), pointer)
