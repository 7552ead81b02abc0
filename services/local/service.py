"""A gateway and the engines behind it on this machine: started, watched, replaced, stopped.

A release that dies is started again where it was. A new release is started beside the old one,
gets the new sessions, and the old one goes when its last session has ended. Sessions are kept in a
folder, so that they outlive every process. It does not know how a release is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from services.gateway.backends import BackendConfig
from services.gateway.settings import GatewayConfig
from services.inference.repository import RepositoryConfig, build_repository
from services.inference.server import InferenceServer, ServerConfig
from services.local.admin import GatewayAdmin
from services.local.gateway_process import GatewayProcess
from services.processes import LOOPBACK, free_port
from services.release_source import ReleaseSource
from worldloom.config import Config

Tell = Callable[[str], None]


class LocalConfig(Config):
    """How the service runs on this machine."""

    port: int = Field(8080, ge=1, le=65535, description="HTTP and WebSocket port of the gateway")
    grpc_port: int | None = Field(
        None, ge=1, le=65535, description="port of the gateway's gRPC pass-through, none for none"
    )
    repository: RepositoryConfig = Field(
        RepositoryConfig(), description="how each release is served"
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="time that live sessions get to finish when all is stopped, seconds"
    )
    exit_timeout_seconds: int = Field(
        5, ge=1, description="time that an engine gets to store its sessions, seconds"
    )


LayOut = Callable[[Path, ReleaseSource, RepositoryConfig], Path]


def lay_out_release(folder: Path, source: ReleaseSource, config: RepositoryConfig) -> Path:
    """Write the model repository of a release and return its folder."""
    return build_repository(folder, source.folder, config, digest=source.digest)


@dataclass(frozen=True)
class Served:
    """A release and the server that serves it."""

    source: ReleaseSource
    server: InferenceServer
    port: int

    @property
    def name(self) -> str:
        """The release as people know it."""
        version = f"version {self.source.version}" if self.source.version else ""
        return version or self.source.digest or str(self.source.folder)

    @property
    def address(self) -> str:
        """`host:port` of the engine."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def backend(self) -> BackendConfig:
        """What the gateway is told of it."""
        return BackendConfig(address=self.address, model_version=self.source.version)


class LocalService:
    """The service; one thread drives it."""

    def __init__(
        self, state: Path, config: LocalConfig, tell: Tell, *, lay_out: LayOut = lay_out_release
    ) -> None:
        """Keep everything under `state`; `tell` is called with a sentence for people."""
        self._lay_out = lay_out
        self._state = state
        self._config = config
        self._tell = tell
        self._served: list[Served] = []
        self._retiring: list[Served] = []
        self._num_engines = 0
        gateway = GatewayConfig(
            port=config.port,
            grpc_port=config.grpc_port,
            auth="none",
            drain_seconds=config.drain_seconds,
        )
        self.gateway = GatewayProcess(state, gateway)
        self.admin = GatewayAdmin(self.gateway.url)

    @property
    def url(self) -> str:
        """The one address: the viewer, the API and the WebSocket."""
        return self.gateway.url

    @property
    def current(self) -> Served:
        """What new sessions get; only after `start`."""
        return self._served[-1]

    @property
    def servers(self) -> tuple[Served, ...]:
        """Every release that is served, the oldest first."""
        return (*self._retiring, *self._served)

    def start(self, source: ReleaseSource) -> None:
        """Start the gateway and the first release, both at once.

        Raises:
            MachineError: when a port is taken or Triton cannot run here.
            ServingError: when one of them does not come up.
        """
        served = self._new(source)
        try:
            with ThreadPoolExecutor(1) as beside:
                starting = beside.submit(self.gateway.start, [served.backend])
                self._start(served)
                starting.result()
        except BaseException:
            self.stop()
            raise

    def replace(self, source: ReleaseSource) -> None:
        """Start another release beside this one, hand new sessions to it, and drain the old.

        Raises:
            ServingError: when it does not come up; the old one is served as before.
        """
        old, fresh = list(self._served), self._new(source)
        try:
            self._start(fresh)
        except BaseException:
            self._served.remove(fresh)
            raise
        self.admin.add(fresh.address, model_version=source.version)
        for served in old:
            self._tell(f"{served.name} takes no new sessions and goes after its last one")
            self.admin.remove(served.address)
            self._served.remove(served)
            self._retiring.append(served)

    def watch(self) -> None:
        """Start again what has died, and stop what nobody needs any more; call it now and then."""
        if not self.gateway.is_alive():
            self._tell("the gateway has died and is started again")
            self.gateway.stop()
            self.gateway.start([served.backend for served in self.servers])
            for served in self._retiring:
                self.admin.remove(served.address)
        for served in self.servers:
            if not served.server.is_alive():
                self._tell(f"the server of {served.name} has died and is started again")
                served.server.stop()
                served.server.start()
        self._stop_retired()

    def stop(self) -> None:
        """Stop the gateway, then the engines, which store their sessions as they go."""
        self.gateway.stop()
        for served in self.servers:
            served.server.stop()
        self._served.clear()
        self._retiring.clear()

    def _new(self, source: ReleaseSource) -> Served:
        port = free_port()
        self._num_engines += 1
        state = self._state / f"engine-{self._num_engines}"
        repository = self._config.repository.model_copy(
            update={"session_store": str(self._state / "sessions")}
        )
        models = self._lay_out(state / "model_repository", source, repository)
        server = InferenceServer(
            models,
            ServerConfig(port=port, exit_timeout_seconds=self._config.exit_timeout_seconds),
            log_path=state / "tritonserver.log",
        )
        served = Served(source, server, port)
        self._served.append(served)
        return served

    def _start(self, served: Served) -> None:
        self._tell(f"loading {served.name} (log: {served.server.log_path})")
        served.server.start()

    def _stop_retired(self) -> None:
        if not self._retiring:
            return
        known = {backend.address for backend in self.admin.backends()}
        for served in list(self._retiring):
            if served.address not in known:
                served.server.stop()
                self._retiring.remove(served)
                self._tell(f"{served.name} has ended")
