"""Triton as a child process: found in its wheel, prepared, started, proved by one session, stopped.

The wheel's server needs a backend folder with the stub of this Python's minor version, the
interpreter's shared library on its path and space-free paths; all of that is prepared in a folder
of its own, which goes when the server stops. It does not know what a release holds.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from pydantic import Field
from tritonclient.utils import InferenceServerException

from services.client.grpc import describe, play_actions
from services.contract import MODEL_NAME, NUM_KEYS, NUM_MOUSE_AXES, SessionError
from services.inference.drain import DRAIN_VARIABLE, ask_to_drain
from services.inference.repository import RepositoryConfig, build_repository
from services.processes import FEW_ARENAS, LOOPBACK, ManagedProcess, free_port, require_free_port
from worldloom.config import Config
from worldloom.errors import MachineError, ServingError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_PROJECT_ROOT = Path(__file__).parents[2]
_EXIT_POLL_SECONDS = 0.05
# Beside the sessions' time: for the model to unload, and for what is said at the end.
_UNLOAD_SECONDS = 5
_MARGIN_SECONDS = 1.0
_DRAIN_FILE = "drain"
_KILL_AFTER_SECONDS = 1.0
_REFUSAL_LENGTH = 400


class ServerConfig(Config):
    """How the server process runs."""

    port: int | None = Field(None, ge=1, le=65535, description="gRPC port; a free one when absent")
    http_port: int | None = Field(
        None, ge=1, le=65535, description="port of plain KServe v2 calls; none when absent"
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="port of Prometheus metrics; none when absent"
    )
    ready_timeout_seconds: float = Field(
        240.0, gt=0, description="time that loading and warming up may take, seconds"
    )
    exit_timeout_seconds: int = Field(
        3, ge=1, description="time that running sessions get when the server stops, seconds"
    )


class _AbortedError(ServingError):
    """The server aborted before it was ready."""


class InferenceServer:
    """A `tritonserver` on the loopback interface that serves one model repository."""

    def __init__(self, repository: Path, config: ServerConfig, *, log_path: Path) -> None:
        """Describe the server; nothing is started before `start`."""
        self._repository = repository
        self._config = config
        self.log_path = log_path
        self._process: ManagedProcess | None = None
        self._runtime: Path | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """`host:port` of the gRPC service; only after `start`."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def http_port(self) -> int | None:
        """Port of plain KServe v2 calls, if it listens for any."""
        return self._config.http_port

    @property
    def metrics_port(self) -> int | None:
        """Port of Prometheus metrics, if there is one."""
        return self._config.metrics_port

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        return None if self._process is None else self._process.pid

    def is_alive(self) -> bool:
        """Tell whether the server process runs."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Start the server, wait until the model is warm, and play one segment on it.

        Where many processes start at once, tritonserver now and then aborts in a lock of its
        shared memory before it has done anything; then it is started once more, and that is logged.

        Raises:
            MachineError: when the port is taken or the wheel does not fit this Python.
            ServingError: when the model does not load or the first session fails.
        """
        try:
            self._start()
        except _AbortedError as error:
            log_event(logger, "triton_aborted", logging.WARNING, reason=str(error))
            self._start()

    def _start(self) -> None:
        wheel = triton_wheel()
        self._port = self._config.port or free_port()
        for port in (self._port, self._config.http_port, self._config.metrics_port):
            if port is not None:
                require_free_port(port, "the inference server")
        self._runtime = Path(tempfile.mkdtemp(prefix="worldloom-triton-", dir=_plain_folder()))
        try:
            self._launch(wheel, self._runtime)
            self._smoke()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove what was prepared for it."""
        if self._process is not None and self._runtime is not None:
            if self._process.is_alive():
                self._ask_to_end(self._process, self._runtime)
            self._process.stop(_KILL_AFTER_SECONDS)
            self._process = None
        if self._runtime is not None:
            for segment in self._segments():
                segment.unlink()
            shutil.rmtree(self._runtime)
            self._runtime = None

    @property
    def shared_memory_bytes(self) -> int:
        """Bytes of /dev/shm through which this server, and no other, talks to its model."""
        return sum(segment.stat().st_size for segment in self._segments())

    def _segments(self) -> list[Path]:
        return list(Path("/dev/shm").glob(f"{self._runtime.name}*")) if self._runtime else []

    def __enter__(self) -> InferenceServer:
        """Start the server for a with block."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the server."""
        self.stop()

    def _launch(self, wheel: Path, runtime: Path) -> None:
        prepare_backend(wheel, runtime / "backends" / "python")
        (runtime / "models").symlink_to(self._repository.resolve(), target_is_directory=True)
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._process = ManagedProcess(
            "tritonserver",
            server_arguments(wheel, runtime, self._port, self._config),
            server_environment(wheel, {**os.environ, DRAIN_VARIABLE: str(runtime / _DRAIN_FILE)}),
            self.log_path,
        )
        self._process.start()
        try:
            self._process.wait_until(self._is_ready, self._config.ready_timeout_seconds)
        except ServingError as error:
            refusal = model_refusal(self.log_path, offset)
            if refusal:
                message = f"the inference server cannot load the release: {refusal}"
                raise ServingError(message) from error
            if self._process.exit_code == -signal.SIGABRT:
                raise _AbortedError(str(error)) from error
            raise

    def _ask_to_end(self, process: ManagedProcess, runtime: Path) -> None:
        # Once it has the signal, the server delivers nothing more of sessions that still run.
        self._drain(process, runtime)
        # A signal to the whole group would keep the model's process from unloading in order.
        os.kill(process.pid, signal.SIGTERM)
        seconds = self._config.exit_timeout_seconds + _UNLOAD_SECONDS + _MARGIN_SECONDS
        deadline = time.monotonic() + seconds
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(_EXIT_POLL_SECONDS)

    def _drain(self, process: ManagedProcess, runtime: Path) -> None:
        seconds = self._config.exit_timeout_seconds
        ask_to_drain(runtime / _DRAIN_FILE, seconds)
        deadline = time.monotonic() + seconds + _MARGIN_SECONDS
        while process.is_alive() and time.monotonic() < deadline:
            try:
                if not describe(self.address, timeout_seconds=seconds).num_sessions:
                    return
            except SessionError:  # it loads, hangs or has died
                return
            time.sleep(_EXIT_POLL_SECONDS)

    def _is_ready(self) -> bool:
        client = triton.InferenceServerClient(self.address)
        try:
            return bool(client.is_model_ready(MODEL_NAME, client_timeout=2.0))
        except InferenceServerException:
            return False
        finally:
            client.close()

    def _smoke(self) -> None:
        one = np.zeros((1, NUM_KEYS)), np.zeros((1, NUM_MOUSE_AXES))
        try:
            play_actions(self.address, *one)
        except SessionError as error:
            message = f"the inference server is ready but its first session failed: {error}"
            raise ServingError(message) from error


def serve_release(
    release: Path,
    state: Path,
    *,
    digest: str = "",
    repository: RepositoryConfig | None = None,
    server: ServerConfig | None = None,
) -> InferenceServer:
    """Return a started server for a release folder; repository and log live under `state`.

    Raises:
        MachineError: when the port is taken or the wheel does not fit this Python.
        ServingError: when the release does not load.
    """
    models = build_repository(
        state / "model_repository", release, repository or RepositoryConfig(), digest=digest
    )
    inference = InferenceServer(
        models, server or ServerConfig(), log_path=state / "tritonserver.log"
    )
    inference.start()
    return inference


def triton_wheel() -> Path:
    """Return the `tritonserver` folder of the installed nvidia-pytriton.

    Raises:
        MachineError: when the package is not installed.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        message = "nvidia-pytriton is not installed, so there is no tritonserver: install the lock"
        raise MachineError(message)
    return Path(spec.origin).parent / "tritonserver"


def prepare_backend(wheel: Path, folder: Path) -> None:
    """Lay out the Python backend with the stub of this interpreter's version.

    Raises:
        MachineError: when the wheel has no stub for it.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        known = ", ".join(
            sorted(path.parent.name for path in wheel.glob("python_backend_stubs/*/*"))
        )
        message = f"Python {version} has no Triton stub in {wheel}, expected one of: {known}"
        raise MachineError(message)
    folder.mkdir(parents=True)
    # A folder there is what an interpreter kept of modules that it read; no part of the wheel.
    files = [path for path in (wheel / "backends" / "python").iterdir() if path.is_file()]
    for source in [*files, stub]:
        shutil.copy2(source, folder / source.name)


def server_arguments(wheel: Path, runtime: Path, port: int, config: ServerConfig) -> list[str]:
    """Return the command line of a server whose gRPC service has this port of the loopback."""
    return [
        str(wheel / "bin" / "tritonserver"),
        f"--model-repository={runtime / 'models'}",
        f"--backend-directory={runtime / 'backends'}",
        "--model-control-mode=explicit",
        f"--load-model={MODEL_NAME}",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={port}",
        *_endpoint("http", config.http_port),
        *_endpoint("metrics", config.metrics_port),
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={config.exit_timeout_seconds + _UNLOAD_SECONDS}",
        f"--backend-config=python,shm-region-prefix-name={runtime.name}",
        "--backend-config=python,stub-timeout-seconds=240",
    ]


def server_environment(wheel: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which the stub finds this interpreter, numpy and the project.

    Raises:
        MachineError: when this Python has no shared library that the stub could load.
    """
    site_packages = wheel.parents[1]
    library = sysconfig.get_config_var("INSTSONAME") or ""
    library_folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    if not (library_folder / library).is_file():
        message = (
            f"Python at {sys.executable} has no shared library {library or 'libpython'} in"
            f" {library_folder}, which Triton needs: use one built with --enable-shared"
        )
        raise MachineError(message)
    return {
        **environment,
        **FEW_ARENAS,
        "LD_LIBRARY_PATH": f"{library_folder}:{site_packages / 'nvidia_pytriton.libs'}",
        "PYTHONPATH": f"{_PROJECT_ROOT}:{site_packages}",
        "PATH": f"{Path(sys.executable).parent}:{environment.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def model_refusal(log_path: Path, offset: int) -> str:
    """Return the sentence with which the model refused to load, "" when the log has none."""
    with log_path.open(errors="replace") as log:
        log.seek(offset)
        for line in log:
            if '"model_load_failed"' in line:
                return textwrap.shorten(json.loads(line)["message"], _REFUSAL_LENGTH)
    return ""


def _endpoint(name: str, port: int | None) -> list[str]:
    if port is None:
        return [f"--allow-{name}=false"]
    return [f"--allow-{name}=true", f"--{name}-address={LOOPBACK}", f"--{name}-port={port}"]


def _plain_folder() -> str:
    # The stub is started through a shell that splits its arguments at spaces.
    folder = tempfile.gettempdir()
    return "/tmp" if any(character.isspace() for character in folder) else folder
