"""MLflow as the tracker of pipeline steps: one run for a pipeline, a nested run for each task.

The environment says where (`MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_ID`, `MLFLOW_RUN_ID`, the
names that the pipeline backend's own MLflow plugin sets); without an address nothing is tracked. A
task that was killed and runs again goes on in the run it had. A server that does not answer is one
sentence within seconds. Large artifacts never pass here: they are in the store, and a run only
carries their digests. It does not know what a step does, nor the model registry.
"""

from __future__ import annotations

import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from worldloom.errors import TrackingError
from worldloom.log import log_event
from worldloom.train.tracking import NullTracker, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

DEFAULT_EXPERIMENT = "worldloom"
STEP_TAG = "worldloom.step"
STEP_KEY_TAG = "worldloom.step_key"
PARENT_RUN_TAG = "mlflow.parentRunId"
MAX_FILE_BYTES = 64 << 20
_PROBE_TIMEOUT_SECONDS = 4.0
_IMPATIENT: Mapping[str, str] = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
}


class StepRun(Protocol):
    """What a task knows of its run."""

    @property
    def run_id(self) -> str:
        """The run's id, empty when nothing is tracked."""
        ...

    @property
    def tracker(self) -> Tracker:
        """Where the step's work logs to."""
        ...

    def record_outputs(self, outputs: Mapping[str, str]) -> None:
        """Keep the digests that the task made, so that a run leads to its artifacts."""


class MlflowTracker:
    """A `worldloom.train.tracking.Tracker` that writes to one MLflow run."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Write to the run with this id."""
        self._client = client
        self.run_id = run_id

    def log_params(self, params: Mapping[str, str | float | int]) -> None:
        """Keep settings of the run; the same setting again must have the same value."""
        from mlflow.entities import Param

        entries = [Param(name, str(value)) for name, value in params.items()]
        with _tracking_errors("parameters"):
            self._client.log_batch(self.run_id, params=entries)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep measured values at a step, in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        with _tracking_errors(f"metrics of step {step}"):
            self._client.log_batch(self.run_id, metrics=entries)

    def log_file(self, path: Path, folder: str) -> None:
        """Keep a small file under a folder of the run.

        Raises:
            ValueError: for a file that belongs into the artifact store instead.
        """
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            message = (
                f"{path.name} has {size} bytes, expected at most {MAX_FILE_BYTES}: "
                "large files go to the artifact store and are tracked by digest"
            )
            raise ValueError(message)
        with _tracking_errors(f"file {path.name}"):
            self._client.log_artifact(self.run_id, str(path), folder or None)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Keep labels of the run."""
        from mlflow.entities import RunTag

        with _tracking_errors("tags"):
            self._client.log_batch(self.run_id, tags=[RunTag(*item) for item in tags.items()])


class _MlflowStepRun:
    def __init__(self, tracker: MlflowTracker) -> None:
        self._tracker = tracker

    @property
    def run_id(self) -> str:
        return self._tracker.run_id

    @property
    def tracker(self) -> Tracker:
        return self._tracker

    def record_outputs(self, outputs: Mapping[str, str]) -> None:
        self._tracker.log_tags({f"worldloom.output.{name}": v for name, v in outputs.items()})


class _UntrackedStepRun:
    def __init__(self) -> None:
        self._tracker = NullTracker()

    @property
    def run_id(self) -> str:
        return ""

    @property
    def tracker(self) -> Tracker:
        return self._tracker

    def record_outputs(self, outputs: Mapping[str, str]) -> None:
        """Drop the digests."""


@contextmanager
def step_run(
    step: str,
    *,
    key: str,
    parents: Mapping[str, str],
    env: Mapping[str, str] | None = None,
) -> Iterator[StepRun]:
    """Open the run of a task, and end it as finished, failed or killed.

    Args:
        step: the task's name.
        key: the task's cache key; a run of the same pipeline run with this key is continued.
        parents: digests of the task's inputs, kept as tags.
        env: where MLflow is, by default the process's environment.

    Raises:
        TrackingError: when an address is given and its server does not answer or refuses.
    """
    values = os.environ if env is None else env
    uri = values.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        log_event(logger, "step_untracked", step=step)
        yield _UntrackedStepRun()
        return
    client = open_client(uri)
    run_id = _own_run(client, step, key, values)
    tracker = MlflowTracker(client, run_id)
    tracker.log_tags({f"worldloom.parent.{name}": digest for name, digest in parents.items()})
    log_event(logger, "step_tracked", step=step, run_id=run_id)
    status = "FAILED"
    try:
        yield _MlflowStepRun(tracker)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        _end_run(client, run_id, status, succeeded=status == "FINISHED")


def open_client(uri: str) -> MlflowClient:
    """Return a client of the server at an address, once it has answered.

    Raises:
        TrackingError: when it does not answer within a few seconds.
    """
    require_answer(uri)
    for name, value in _IMPATIENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def require_answer(uri: str) -> None:
    """Ask a server for its health.

    Raises:
        TrackingError: when it does not answer within a few seconds.
    """
    if not uri.startswith(("http://", "https://")):
        message = f"tracking address {uri!r}: expected http:// or https:// of an MLflow server"
        raise TrackingError(message)
    try:
        with urllib.request.urlopen(
            f"{uri.rstrip('/')}/health", timeout=_PROBE_TIMEOUT_SECONDS
        ) as response:
            response.read()
    except (OSError, urllib.error.URLError) as error:
        message = (
            f"the tracking server at {uri} does not answer ({error}): "
            "start it again, or unset MLFLOW_TRACKING_URI to run untracked"
        )
        raise TrackingError(message) from error


def begin_pipeline_run(
    uri: str, *, name: str, tags: Mapping[str, str], experiment: str = DEFAULT_EXPERIMENT
) -> tuple[str, str]:
    """Create the run of a whole pipeline and return the ids of its experiment and itself."""
    client = open_client(uri)
    with _tracking_errors("a new pipeline run"):
        experiment_id = _experiment_id(client, experiment)
        run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    return experiment_id, run.info.run_id


def end_pipeline_run(uri: str, run_id: str, *, succeeded: bool) -> None:
    """Mark the run of a whole pipeline as finished or failed."""
    _end_run(open_client(uri), run_id, "FINISHED" if succeeded else "FAILED", succeeded=True)


def _own_run(client: MlflowClient, step: str, key: str, env: Mapping[str, str]) -> str:
    with _tracking_errors(f"the run of step {step}"):
        given = env.get("MLFLOW_RUN_ID", "")
        parent = client.get_run(given) if given else None
        if parent is not None and PARENT_RUN_TAG in parent.data.tags:
            client.set_tag(given, STEP_TAG, step)  # the backend made a run for this very task
            client.set_tag(given, STEP_KEY_TAG, key)
            return given
        experiment_id = _step_experiment(client, parent, env)
        tags = {STEP_TAG: step, STEP_KEY_TAG: key}
        if parent is not None:
            tags[PARENT_RUN_TAG] = given
            earlier = client.search_runs(
                [experiment_id],
                f"tags.`{STEP_KEY_TAG}` = '{key}' and tags.`{PARENT_RUN_TAG}` = '{given}'",
                max_results=1,
            )
            if earlier:
                earlier_id: str = earlier[0].info.run_id
                client.update_run(earlier_id, status="RUNNING")
                return earlier_id
        run_id: str = client.create_run(experiment_id, run_name=step, tags=tags).info.run_id
        return run_id


def _step_experiment(client: MlflowClient, parent: Run | None, env: Mapping[str, str]) -> str:
    if parent is not None:
        parent_experiment: str = parent.info.experiment_id
        return parent_experiment
    return env.get("MLFLOW_EXPERIMENT_ID", "") or _experiment_id(client, DEFAULT_EXPERIMENT)


def _experiment_id(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was first
            if found is None:
                raise
    return str(found.experiment_id)


def _end_run(client: MlflowClient, run_id: str, status: str, *, succeeded: bool) -> None:
    try:
        with _tracking_errors(f"the end of run {run_id}"):
            client.set_terminated(run_id, status)
    except TrackingError as error:
        if succeeded:
            raise
        log_event(logger, "run_end_lost", logging.WARNING, run_id=run_id, reason=str(error))


@contextmanager
def _tracking_errors(what: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        first = str(error).splitlines()[0][:400]
        message = f"MLflow did not take {what}: {first}"
        raise TrackingError(message) from error
    except OSError as error:  # requests' errors are OSErrors
        message = f"MLflow did not take {what}, its server does not answer: {error}"
        raise TrackingError(message) from error
