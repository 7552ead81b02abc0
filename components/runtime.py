"""How a step runs: looked up by its key, run at most once at a time, remembered when finished.

`execute` is the boundary of a step's process: an error of the project becomes one log line and the
error's exit code. This module knows neither the steps nor the pipeline.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic

from components.code_digest import code_digest, code_files, digest_of_files
from components.provenance import provenance
from components.step_record import (
    StepRecord,
    mark_latest,
    read_step_record,
    resolved_json,
    step_key,
    write_step_record,
)
from components.tracking import step_run
from worldloom.artifacts import ArtifactKind, is_digest
from worldloom.config import ConfigT, load_config, resolved
from worldloom.errors import ArtifactError, ConfigError, MachineError, StoreError, WorldloomError
from worldloom.log import configure_logging, log_event
from worldloom.store import ArtifactStore, open_store
from worldloom.train.tracking import Tracker

__all__ = [
    "Step",
    "StepContext",
    "code_digest",
    "code_files",
    "execute",
    "home_folder",
    "run_step",
    "step_key",
]

logger = logging.getLogger(__name__)

_UNEXPECTED_EXIT_CODE = 1
_DISK_FULL_TEXT = "No space left on device"


@dataclass(frozen=True)
class Step(Generic[ConfigT]):
    """A step's interface: its name, its config class, its inputs and its outputs."""

    name: str
    config: type[ConfigT]
    parents: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class StepContext(Generic[ConfigT]):
    """What a running step is given.

    Attributes:
        config: the step's own config.
        parents: digest of each input by role; empty text where none was given.
        store: where artifacts are.
        scratch: folder of this key alone; it survives a kill and is removed at success.
        tracker: where parameters and metrics go.
    """

    config: ConfigT
    parents: Mapping[str, str]
    store: ArtifactStore
    scratch: Path
    tracker: Tracker

    def folder(self, parent: str) -> Path:
        """Return an input's folder, fetched and verified.

        Raises:
            ArtifactError: if it is missing or damaged, or none was given.
        """
        digest = self.parents[parent]
        if not digest:
            message = f"input {parent!r}: no artifact was given, expected a digest"
            raise ArtifactError(message)
        return self.store.fetch(digest)

    def fresh_folder(self, name: str) -> Path:
        """Return an empty folder in the scratch, whatever an interrupted run left in it."""
        folder = self.scratch / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    def commit(
        self,
        folder: Path,
        kind: ArtifactKind,
        extra_parents: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> str:
        """Store a folder as an artifact of this step and return its digest.

        Args:
            folder: what to store.
            kind: what it is.
            extra_parents: digests by role beside the step's own inputs, for an artifact made
                from another one of the same step.
        """
        parents = {role: digest for role, digest in self.parents.items() if digest}
        digest = self.store.put(
            folder, kind=kind, config=resolved(self.config), parents=parents | dict(extra_parents)
        )
        log_event(logger, "artifact_stored", kind=kind, digest=digest)
        return digest


def execute(
    step: Step[ConfigT],
    run: Callable[[StepContext[ConfigT]], Mapping[str, str]],
    *,
    config: str,
    parents: Mapping[str, str],
    code: str,
) -> dict[str, str]:
    """Run a step as a process of its own and return its outputs.

    Raises:
        SystemExit: after one log line, with the exit code of the error that stopped the step.
    """
    if not logging.getLogger().handlers:
        configure_logging()
    try:
        return run_step(step, run, config=config, parents=parents, code=code)
    except WorldloomError as error:
        failure = error
    except Exception as error:
        if not _is_disk_full(error):
            logger.exception("step_failed_unexpectedly")
            raise SystemExit(_UNEXPECTED_EXIT_CODE) from error
        failure = StoreError(f"step {step.name}: the disk is full, free some space and run again")
    log_event(
        logger,
        "step_failed",
        logging.ERROR,
        step=step.name,
        error=type(failure).__name__,
        reason=str(failure),
    )
    raise SystemExit(failure.exit_code) from failure


def run_step(
    step: Step[ConfigT],
    run: Callable[[StepContext[ConfigT]], Mapping[str, str]],
    *,
    config: str,
    parents: Mapping[str, str],
    code: str,
) -> dict[str, str]:
    """Return a step's outputs: those of its record if they are all there, else of a new run.

    Args:
        step: the interface.
        run: the work; its module is the entry of the code's digest.
        config: the step's config as JSON text.
        parents: digest of each input by role; empty text for an input that is not there.
        code: digest of the code the pipeline was made with; empty text for whatever is here.

    Raises:
        WorldloomError: of any kind that the work raises, or
        ConfigError: for a config or inputs that the step does not take, or
        MachineError: if the code here is not the code that was asked for, or
        ArtifactError: if an output of the record is damaged.
    """
    parsed = load_config(step.config, config, where=step.name)
    _check_parents(step, parents)
    files = code_files(run.__module__)
    actual = digest_of_files(files)
    if code not in {"", actual}:
        message = (
            f"step {step.name}: the code here has {actual}, expected {code}; make the pipeline"
            " again from these sources, or run it with the image it was made for"
        )
        raise MachineError(message)
    key = step_key(step.name, actual, resolved_json(parsed), parents)
    home = home_folder()
    store = open_store(os.environ.get("WORLDLOOM_STORE") or str(home / "store"))
    with _only_one(home / "locks", key, step.name):
        record = read_step_record(store, key)
        if record is not None and _outputs_are_here(store, record):
            log_event(logger, "step_reused", step=step.name, key=key)
            mark_latest(store, record)
            return dict(record.outputs)
        scratch = _open_scratch(home, key, step.name)
        with step_run(step.name, key=key, parents=parents) as tracked:
            context = StepContext(
                config=parsed,
                parents=dict(parents),
                store=store,
                scratch=scratch,
                tracker=tracked.tracker,
            )
            record = _run_once(step, run, context, key=key, files=files, run_id=tracked.run_id)
            tracked.record_outputs(record.outputs)
        write_step_record(store, record)
        shutil.rmtree(scratch)
    return dict(record.outputs)


def home_folder() -> Path:
    """Return the folder of this machine's state: `WORLDLOOM_HOME`, or `out`."""
    return Path(os.environ.get("WORLDLOOM_HOME") or "out").absolute()


def _run_once(
    step: Step[ConfigT],
    run: Callable[[StepContext[ConfigT]], Mapping[str, str]],
    context: StepContext[ConfigT],
    *,
    key: str,
    files: Mapping[str, str],
    run_id: str,
) -> StepRecord:
    started = datetime.now(UTC)
    clock = time.monotonic()
    log_event(logger, "step_started", step=step.name, key=key, scratch=str(context.scratch))
    outputs = dict(run(context))
    if set(outputs) != set(step.outputs):
        message = f"step {step.name} returned {sorted(outputs)}, expected {sorted(step.outputs)}"
        raise ValueError(message)
    seconds = round(time.monotonic() - clock, 3)
    log_event(logger, "step_finished", step=step.name, key=key, seconds=seconds, outputs=outputs)
    return StepRecord(
        step=step.name,
        key=key,
        config=resolved(context.config),
        parents=dict(context.parents),
        code=digest_of_files(files),
        code_files=dict(files),
        outputs=outputs,
        seconds=seconds,
        started=started.isoformat(timespec="seconds"),
        provenance=provenance(tracking_run_id=run_id),
    )


def _check_parents(step: Step[ConfigT], parents: Mapping[str, str]) -> None:
    if set(parents) != set(step.parents):
        message = f"step {step.name}: inputs {sorted(parents)}, expected {sorted(step.parents)}"
        raise ConfigError(message)
    for role, digest in parents.items():
        if digest and not is_digest(digest):
            message = f"step {step.name}: input {role} is {digest!r}, expected a sha256: digest"
            raise ConfigError(message)


def _outputs_are_here(store: ArtifactStore, record: StepRecord) -> bool:
    """Tell whether every artifact is here; one that is damaged is an error, not a reason to run."""
    digests = [value for value in record.outputs.values() if is_digest(value)]
    try:
        if not all(store.has(digest) for digest in digests):
            log_event(logger, "step_outputs_are_gone", logging.WARNING, step=record.step)
            return False
        for digest in digests:
            store.fetch(digest)
    except ArtifactError as error:
        message = f"{error}; remove it from {store.uri} and step {record.step} makes it again"
        raise ArtifactError(message) from error
    return True


@contextmanager
def _only_one(locks: Path, key: str, step_name: str) -> Iterator[None]:
    """Hold the key's lock: a second process waits, and then finds the first one's record."""
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / f"{key}.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log_event(logger, "step_waits_for_another_process", step=step_name, key=key)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open_scratch(home: Path, key: str, step_name: str) -> Path:
    scratch = home / "scratch" / key
    if scratch.exists():
        log_event(logger, "step_resumes", step=step_name, scratch=str(scratch))
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _DISK_FULL_TEXT in str(error):  # what native writers (safetensors, Arrow) say
            return True
        error = error.__cause__
    return False
