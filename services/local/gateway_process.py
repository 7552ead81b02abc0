"""A gateway as a child process on the loopback interface: its settings, its secret, its log.

The secret stays in the state folder, so resume tokens outlive the process. It does not know what
the gateway's backends serve.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from services.gateway.backends import BackendConfig
from services.gateway.settings import SECRET_VARIABLE, GatewayConfig
from services.processes import FEW_ARENAS, LOOPBACK, ManagedProcess, require_free_port
from worldloom.config import resolved

_PROJECT_ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_KILL_AFTER_SECONDS = 5.0


class GatewayProcess:
    """One gateway; it may be started again after it has ended."""

    def __init__(
        self, state: Path, config: GatewayConfig, *, fake: Sequence[str] | None = None
    ) -> None:
        """Keep settings, secret and log under `state`; `fake` are settings of a fake engine."""
        self._state = state
        self._config = config
        self._fake = fake
        self._settings = state / "gateway.json"
        self.log_path = state / "gateway.log"
        self._process = ManagedProcess(
            "gateway", self._arguments(), self._environment(), self.log_path
        )

    @property
    def url(self) -> str:
        """The address that people open and clients connect to."""
        return f"http://{LOOPBACK}:{self._config.port}"

    @property
    def pid(self) -> int:
        """The process id; only after `start`."""
        return self._process.pid

    @property
    def pid_or_none(self) -> int | None:
        """The process id, None while there is no process."""
        return self._process.pid if self._process.is_alive() else None

    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.is_alive()

    def is_answering(self) -> bool:
        """Tell whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/live", timeout=_PROBE_SECONDS):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def start(self, backends: Sequence[BackendConfig] = ()) -> None:
        """Start it with these backends, if it has no fake one, and wait until it answers.

        Raises:
            MachineError: when the port is taken.
            ServingError: when it does not come up.
        """
        require_free_port(self._config.port, "the gateway")
        config = self._config.model_copy(update={"backends": tuple(backends)})
        self._state.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(json.dumps(resolved(config), indent=2) + "\n")
        self._process.start()
        self._process.wait_until(self.is_answering, _READY_SECONDS)

    def stop(self) -> None:
        """Let it drain for as long as it was told to, and end it."""
        self._process.stop(self._config.drain_seconds + _KILL_AFTER_SECONDS)

    def __enter__(self) -> GatewayProcess:
        """Start it for a with block."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it."""
        self.stop()

    def _arguments(self) -> list[str]:
        arguments = [sys.executable, "-m", "services.gateway", "--config", str(self._settings)]
        if self._fake is not None:
            arguments.append("--fake")
            for setting in self._fake:
                arguments += ["--fake-set", setting]
        return arguments

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(_PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
        secret = {SECRET_VARIABLE: kept_secret(self._state)}
        return {**os.environ, **FEW_ARENAS, "PYTHONPATH": path, **secret}


def kept_secret(state: Path) -> str:
    """Return the secret of a state folder, made the first time it is asked for."""
    path = state / "gateway.secret"
    state.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path.read_text().strip()
