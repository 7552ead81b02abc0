"""A run on a cluster: compiled, checked and handed to Kubeflow Pipelines' API.

It refuses what a cluster could not honour: a missing address, images without a digest, a store that
only this machine can read. It does not follow the run; KFP's own pages do.
"""

from __future__ import annotations

import logging
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.compile import compile_pipeline
from pipelines.definition import step_of
from pipelines.recurring import recurring_runs
from pipelines.resources import Profile, require_pinned_images
from worldloom.errors import ConfigError, MachineError
from worldloom.log import log_event

if TYPE_CHECKING:
    from pipelines.local import PreparedRun
    from pipelines.schedule import Schedule

logger = logging.getLogger(__name__)

EXPERIMENT = "worldloom"
_PROBE_SECONDS = 5.0
_HEALTH_PATH = "/apis/v2beta1/healthz"


def submit_run(
    prepared: PreparedRun, *, endpoint: str, profile: Profile, experiment: str = EXPERIMENT
) -> dict[str, str]:
    """Submit a run and return its name, id and address.

    Raises:
        ConfigError: for a missing address, an image without a digest or a store in a folder.
        MachineError: if nothing answers at the address.
    """
    with _package(prepared, endpoint, profile) as (address, path):
        from kfp import Client

        result = Client(host=address).create_run_from_pipeline_package(
            str(path),
            arguments=dict(prepared.arguments),
            experiment_name=experiment,
            enable_caching=True,
        )
    name = prepared.definition.name
    run_id = str(result.run_id)
    log_event(logger, "run_submitted", pipeline=name, run_id=run_id)
    return {"pipeline": name, "run_id": run_id, "url": f"{address}/#/runs/details/{run_id}"}


def submit_schedule(
    prepared: PreparedRun,
    schedule: Schedule,
    *,
    endpoint: str,
    profile: Profile,
    experiment: str = EXPERIMENT,
) -> list[str]:
    """Make a schedule the cluster's recurring runs and return their ids.

    Raises:
        ConfigError: like `submit_run`, and for a schedule that UTC cannot express.
        MachineError: if nothing answers at the address.
    """
    runs = recurring_runs(schedule, datetime.now(UTC))
    with _package(prepared, endpoint, profile) as (address, path):
        from kfp import Client

        client = Client(host=address)
        experiment_id = client.create_experiment(experiment).experiment_id
        created = [
            client.create_recurring_run(
                experiment_id=experiment_id,
                pipeline_package_path=str(path),
                params=dict(prepared.arguments),
                enable_caching=True,
                **run.model_dump(),
            )
            for run in runs
        ]
    return [str(run.recurring_run_id) for run in created]


@contextmanager
def _package(prepared: PreparedRun, endpoint: str, profile: Profile) -> Iterator[tuple[str, Path]]:
    """Check what a cluster needs and compile; yield its address and the compiled file."""
    definition = prepared.definition
    address = _checked_endpoint(endpoint)
    require_pinned_images(
        profile.images, {step_of(definition, task) for task in definition.entries}
    )
    environment = {**profile.environment, "WORLDLOOM_STORE": _shared_store(prepared, profile)}
    _require_answer(address)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{definition.name}.yaml"
        compile_pipeline(definition, profile.model_copy(update={"environment": environment}), path)
        yield address, path


def _checked_endpoint(endpoint: str) -> str:
    if not endpoint.startswith(("http://", "https://")):
        message = (
            f"Kubeflow Pipelines' address {endpoint!r}: expected --endpoint or KFP_ENDPOINT with "
            "http:// or https://"
        )
        raise ConfigError(message)
    return endpoint.rstrip("/")


def _shared_store(prepared: PreparedRun, profile: Profile) -> str:
    address = profile.environment.get("WORLDLOOM_STORE", prepared.store.uri)
    if not address.startswith("s3://"):
        message = f"store {address!r}: a cluster cannot read it, expected s3://bucket/prefix"
        raise ConfigError(message)
    return address


def _require_answer(endpoint: str) -> None:
    try:
        with urllib.request.urlopen(f"{endpoint}{_HEALTH_PATH}", timeout=_PROBE_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        message = f"Kubeflow Pipelines at {endpoint} refuses: HTTP {error.code} {error.reason}"
        raise MachineError(message) from error
    except OSError as error:
        message = f"Kubeflow Pipelines does not answer at {endpoint} ({error})"
        raise MachineError(message) from error
