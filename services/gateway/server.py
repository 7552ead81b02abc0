"""The gateway as a process: its sockets, its server, its signals.

SIGTERM and SIGINT begin to drain; a second one ends at once. It does not know routes or sessions.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from services import protocol
from services.gateway.drain import Drain
from services.gateway.settings import GatewayConfig
from worldloom.errors import MachineError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_PING_SECONDS = 20.0
_SEND_BUFFER_BYTES = 256 * 1024  # more than 2 MB/s over 100 ms; the kernel takes it twice


class GatewayServer(uvicorn.Server):
    """Uvicorn, with a drain before its shutdown."""

    def __init__(self, app: FastAPI, config: GatewayConfig) -> None:
        """Serve an application made by `create_app`."""
        self.app = app
        self._draining: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="websockets-sansio",
                # Twice what is taken, so that somewhat too much is refused in words.
                ws_max_size=2 * protocol.MAX_MESSAGE_BYTES,
                ws_ping_interval=_PING_SECONDS,
                ws_ping_timeout=_PING_SECONDS,
                ws_per_message_deflate=False,  # frames are compressed, and windows cost memory
                access_log=False,
                log_config=None,
                lifespan="on",
                timeout_graceful_shutdown=5,
            )
        )
        self._listening = listen(config)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._listening.getsockname()[1]
        return port

    def run_until_stopped(self) -> None:
        """Serve until a signal; returns when everything is given back."""
        self.run(sockets=[self._listening])

    async def serve_until_stopped(self) -> None:
        """Serve in an event loop that runs already."""
        await self.serve(sockets=[self._listening])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain on the first signal; leave at once on the second."""
        del frame
        if self._draining is not None:
            self.should_exit = True
            self.force_exit = True
            return
        log_event(logger, "signal_received", signal=sig)
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        drain: Drain = self.app.state.drain
        await drain.run()
        self.should_exit = True


def listen(config: GatewayConfig) -> socket.socket:
    """Return a listening socket on which a peer that takes nothing is given up.

    Raises:
        MachineError: when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # The kernel gives up a connection whose peer takes nothing: what waits for it is freed.
    give_up_ms = int(config.limits.stuck_seconds * 1000)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, give_up_ms)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What the kernel holds for a slow player can no longer be dropped, and delays its pings.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        sentence = f"cannot listen on {config.host}:{config.port} ({error.strerror})"
        raise MachineError(sentence) from error
    listening.listen(_BACKLOG)
    listening.set_inheritable(True)
    return listening
