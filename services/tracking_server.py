"""The local MLflow server: one process for one state folder, on SQLite, on the loopback interface.

The server process itself takes an exclusive lock for as long as it lives, so that one state
folder never has two; under that lock it creates the database (in a file of another name, renamed
when whole) and then serves. MLflow's own command line would import everything twice; started this
way it is ready in half the time and memory. Large artifacts do not go through it: they are in the
artifact store and registered by address. It does not know runs, models or steps.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from services.processes import (
    LOOPBACK,
    ManagedProcess,
    ProcessIdentity,
    free_port,
    is_port_free,
    require_free_port,
    stop_group,
)
from worldloom.errors import TrackingError
from worldloom.log import configure_logging, log_event

logger = logging.getLogger(__name__)

START_TIMEOUT_SECONDS = 180.0
_HEALTH_TIMEOUT_SECONDS = 2.0
_PROGRESS_EVERY_SECONDS = 5.0
_EXIT_ALREADY_SERVED = 75
_PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class TrackingFolder:
    """Where the server of a state folder keeps its things: `<home>/mlflow/`."""

    home: Path

    @property
    def root(self) -> Path:
        """The folder of everything MLflow."""
        return self.home.resolve() / "mlflow"

    @property
    def database(self) -> Path:
        """The SQLite file; it exists whole or not at all."""
        return self.root / "mlflow.db"

    @property
    def database_uri(self) -> str:
        """The database's address as SQLAlchemy writes it."""
        return f"sqlite:///{self.database}"

    @property
    def artifacts(self) -> Path:
        """Small files of runs: plots, tables, sample videos."""
        return self.root / "artifacts"

    @property
    def log(self) -> Path:
        """What the server process wrote."""
        return self.root / "server.log"

    @property
    def lock(self) -> Path:
        """Held exclusively by the living server."""
        return self.root / "server.lock"

    @property
    def record(self) -> Path:
        """Who serves and where, written by the server once it holds the lock."""
        return self.root / "server.json"


@dataclass(frozen=True)
class _ServerRecord:
    identity: ProcessIdentity
    port: int

    @property
    def uri(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @classmethod
    def read(cls, folder: TrackingFolder) -> _ServerRecord | None:
        try:
            value = json.loads(folder.record.read_text(encoding="utf-8"))
            identity = ProcessIdentity(int(value["pid"]), float(value["created"]))
            return cls(identity, int(value["port"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: TrackingFolder) -> None:
        value = {
            "pid": self.identity.pid,
            "created": self.identity.created,
            "port": self.port,
            "uri": self.uri,
        }
        temporary = folder.record.with_suffix(".new")
        temporary.write_text(json.dumps(value), encoding="utf-8")
        temporary.replace(folder.record)


def answers(uri: str, timeout_seconds: float = _HEALTH_TIMEOUT_SECONDS) -> bool:
    """Tell whether a tracking server answers at this address."""
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=timeout_seconds) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def running_server(home: Path) -> str | None:
    """Return the address of the state folder's server if it lives and answers."""
    record = _ServerRecord.read(TrackingFolder(home))
    if record is None or not record.identity.is_alive() or not answers(record.uri):
        return None
    return record.uri


def mlflow_command(home: Path, port: int = 5000) -> str:
    """Return the plain MLflow command that shows this state folder's runs in a browser."""
    folder = TrackingFolder(home)
    argv = ["mlflow", "server", "--backend-store-uri", folder.database_uri]
    argv += ["--artifacts-destination", str(folder.artifacts), "--host", LOOPBACK]
    argv += ["--port", str(port), "--workers", "1"]
    return "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false " + shlex.join(argv)


class TrackingServer:
    """The server of one state folder: reused where it lives, started where it does not."""

    def __init__(self, home: Path, *, port: int | None = None) -> None:
        """Name the state folder; without a port the last one is used again if it is free."""
        self.folder = TrackingFolder(home)
        self._port = port
        self._process: ManagedProcess | None = None

    @property
    def uri(self) -> str:
        """The server's address; only while it lives."""
        record = self._living()
        if record is None:
            message = f"no tracking server runs for {self.folder.home}, expected a started one"
            raise TrackingError(message)
        return record.uri

    def launch(self) -> None:
        """Begin to start the server unless it lives already; returns at once.

        Raises:
            MachineError: when the wanted port is taken by another program.
        """
        record = self._living()
        if record is not None:
            if self._port not in (None, record.port):
                log_event(logger, "tracking_port_kept", port=record.port, wanted=self._port)
            return
        if self._port is not None:
            require_free_port(self._port, "the tracking server")
        argv = [sys.executable, "-m", "services.tracking_server"]
        argv += [str(self.folder.home.resolve()), str(self._port or self._usual_port())]
        self.folder.root.mkdir(parents=True, exist_ok=True)
        self._process = ManagedProcess("MLflow", argv, server_environment(), self.folder.log)
        self._process.start()

    def wait(
        self,
        timeout_seconds: float = START_TIMEOUT_SECONDS,
        progress: Callable[[float], None] | None = None,
    ) -> str:
        """Wait until the server answers and return its address.

        Args:
            timeout_seconds: after so long the server counts as failed.
            progress: called with the seconds waited so far, about twice a second.

        Raises:
            TrackingError: when it ended or did not answer in time; names its log.
        """
        process = self._process
        if process is None:
            uri = self.uri
            if not answers(uri, 10.0):
                message = (
                    f"the tracking server at {uri} lives but does not answer within 10 s"
                    f" (log: {self.folder.log})"
                )
                raise TrackingError(message)
            return uri
        seconds = process.wait_until(
            self._answers,
            timeout_seconds,
            progress=progress or _ProgressLog(),
            error=TrackingError,
            alive=lambda: process.is_alive() or self._living() is not None,
        )
        if not process.is_alive():  # another starter's server was first
            self._process = None
        log_event(logger, "tracking_server_ready", uri=self.uri, seconds=round(seconds, 2))
        return self.uri

    def start(self, progress: Callable[[float], None] | None = None) -> str:
        """Start or reuse the server, wait for it and return its address."""
        self.launch()
        return self.wait(progress=progress)

    def stop(self) -> bool:
        """End the state folder's server, whoever started it; True when there was one."""
        record = self._living()
        stopped = record is not None and stop_group(record.identity)
        if self._process is not None:
            self._process.stop()
            self._process = None
        return stopped

    def __enter__(self) -> TrackingServer:
        """Start or reuse the server for a with block."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the server if this object started it; a reused one goes on."""
        if self._process is not None:
            self.stop()

    def _living(self) -> _ServerRecord | None:
        record = _ServerRecord.read(self.folder)
        return record if record is not None and record.identity.is_alive() else None

    def _answers(self) -> bool:
        record = self._living()
        return record is not None and answers(record.uri)

    def _usual_port(self) -> int:
        record = _ServerRecord.read(self.folder)
        return record.port if record is not None and is_port_free(record.port) else free_port()


class _ProgressLog:
    """Writes a line every few seconds while the server starts."""

    def __init__(self) -> None:
        self._next = _PROGRESS_EVERY_SECONDS

    def __call__(self, elapsed_seconds: float) -> None:
        if elapsed_seconds >= self._next:
            self._next += _PROGRESS_EVERY_SECONDS
            log_event(logger, "tracking_server_starting", seconds=round(elapsed_seconds, 1))


def server_environment() -> Mapping[str, str]:
    """Return the environment of the server process: no job workers, no calls home."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    env["MLFLOW_DISABLE_TELEMETRY"] = "true"
    paths = [str(_PROJECT_ROOT), *filter(None, [env.get("PYTHONPATH")])]
    env["PYTHONPATH"] = os.pathsep.join(paths)
    return env


def initialise_database(folder: TrackingFolder) -> None:
    """Create the database if there is none; the caller holds the lock.

    Raises:
        TrackingError: when there is one that is damaged.
    """
    if folder.database.exists():
        _require_sound(folder)
        return
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore

    draft = folder.database.with_suffix(".new")
    draft.unlink(missing_ok=True)
    tracking = TrackingStore(  # type: ignore[no-untyped-call]
        f"sqlite:///{draft}", "mlflow-artifacts:/"
    )
    registry = RegistryStore(f"sqlite:///{draft}")  # type: ignore[no-untyped-call]
    tracking.engine.dispose()
    registry.engine.dispose()
    draft.replace(folder.database)


def serve(folder: TrackingFolder, port: int) -> None:
    """Be the server: take the lock, say so in the record, create the database, serve."""
    folder.root.mkdir(parents=True, exist_ok=True)
    lock = folder.lock.open("a")
    _take_lock(lock, folder)
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None, "a running process has an identity"
    _ServerRecord(identity, port).write(folder)
    import uvicorn  # before mlflow.server, which asks whether it runs under it

    initialise_database(folder)
    from mlflow.server import constants

    folder.artifacts.mkdir(exist_ok=True)
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = folder.database_uri
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = folder.database_uri
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = folder.artifacts.as_uri()
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(folder.database_uri, folder.database_uri, "mlflow-artifacts:/")
    uvicorn.run(app, host=LOOPBACK, port=port, log_level="warning", timeout_graceful_shutdown=3)
    lock.close()


def _require_sound(folder: TrackingFolder) -> None:
    try:
        with closing(sqlite3.connect(folder.database)) as connection:
            connection.execute("select version_num from alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        message = (
            f"the tracking database {folder.database} is damaged ({error}): "
            "put the file aside, and the next start makes a new one"
        )
        raise TrackingError(message) from error


def _take_lock(lock: TextIO, folder: TrackingFolder) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log_event(logger, "tracking_server_exists", home=str(folder.home))
        sys.exit(_EXIT_ALREADY_SERVED)


if __name__ == "__main__":
    configure_logging()
    try:
        serve(TrackingFolder(Path(sys.argv[1])), int(sys.argv[2]))
    except TrackingError as failure:
        sys.exit(str(failure))
