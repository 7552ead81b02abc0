"""A gateway on a real port in this process, with engines that draw patterns behind it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from services import protocol
from services.gateway.app import create_app
from services.gateway.backends import BackendConfig
from services.gateway.fake_engine import FakeEngine
from services.gateway.fake_session import FakeEngineConfig
from services.gateway.link import EngineLink
from services.gateway.parts import Parts, build_parts
from services.gateway.server import GatewayServer
from services.gateway.settings import GatewayConfig, SessionLimits

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find `fake_triton`

SECRET = "a secret of tests, long enough to sign with"
LIMITS = SessionLimits(recover_seconds=5.0)
CONFIG = GatewayConfig(
    auth="none",
    port=0,
    health_seconds=0.05,
    drain_seconds=0.3,
    limits=LIMITS,
    backends=(BackendConfig(address="engine:1", model_version="7"),),
)
ENGINE = FakeEngineConfig(frames_per_segment=4, segment_seconds=0.001, height=64, width=128)
PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def one_loop(anyio_backend: str) -> None:
    """Keep one event loop for all of these tests.

    gRPC has one queue for every loop of a process; what it still had for a test's loop that is
    closed would be raised in the next test.
    """


@dataclass
class RunningGateway:
    """A gateway that serves, and the engines behind it by address."""

    parts: Parts
    server: GatewayServer
    engines: dict[str, FakeEngine]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def engine(self) -> FakeEngine:
        return self.engines["engine:1"]

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Player]:
        address = f"ws://127.0.0.1:{self.server.port}{protocol.SESSION_PATH}"
        options.setdefault("subprotocols", [protocol.SUBPROTOCOL])
        async with connect(address, max_size=None, compression=None, **options) as websocket:
            yield Player(websocket)

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_SECONDS) as client:
            yield client

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():
                await asyncio.sleep(0.005)


@dataclass
class Player:
    """A client that speaks the protocol and keeps the frames that it got."""

    websocket: ClientConnection
    frames: dict[int, bytes] = field(default_factory=dict)
    ready: protocol.Ready | None = None
    receipts: list[int] = field(default_factory=list)

    async def send(self, message: Any) -> None:
        if not isinstance(message, str | bytes | dict):
            message = message.model_dump_json(exclude_none=True)
        await self.websocket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def receive(self) -> Any:
        """The next message that is no frame."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                data = await self.websocket.recv()
                if isinstance(data, str):
                    return self.note(protocol.parse_server_message(data))
                self.keep(data)

    def keep(self, data: bytes) -> None:
        header = protocol.FrameHeader.unpack(data)
        assert header.frame_index not in self.frames, "a frame was sent twice"
        self.frames[header.frame_index] = data[protocol.HEADER_BYTES :]

    def note(self, message: Any) -> Any:
        if isinstance(message, protocol.ActionsReceived):
            self.receipts.append(message.action_index)
        return message

    async def receive_a(self, kind: type[Any]) -> Any:
        """The next message of one type; others are passed over."""
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message
            assert not isinstance(message, protocol.Error | protocol.Ended), message

    async def open(self, **fields: Any) -> protocol.Ready:
        await self.send(protocol.Open(**fields))
        self.ready = await self.receive_a(protocol.Ready)
        await self.until_frame(0)
        return self.ready

    async def resume(self, token: str, last_frame_index: int) -> protocol.Ready:
        await self.send(protocol.Resume(resume_token=token, last_frame_index=last_frame_index))
        self.ready = await self.receive_a(protocol.Ready)
        return self.ready

    async def until_frame(self, frame_index: int, *, credit: bool = True) -> None:
        """Take frames in, and acknowledge their segments, up to this one."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while frame_index not in self.frames:
                data = await self.websocket.recv()
                if isinstance(data, bytes):
                    self.keep(data)
                    continue
                message = self.note(protocol.parse_server_message(data))
                assert not isinstance(message, protocol.Error | protocol.Ended), message
                if isinstance(message, protocol.Segment) and credit:
                    index = message.segment_index
                    await self.send(protocol.FramesReceived(segment_index=index))

    async def act(self, action_index: int, num_actions: int, key: int = 3) -> None:
        row = [0.0] * 6
        row[key] = 1.0
        await self.send(
            protocol.Actions(
                action_index=action_index,
                keyboard=[row] * num_actions,
                mouse=[[0.0, 0.0]] * num_actions,
            )
        )

    async def close_code(self) -> int:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.websocket.wait_closed()
        assert self.websocket.close_code is not None
        return self.websocket.close_code


GatewayFactory = Callable[..., Any]


@pytest.fixture
def gateway() -> GatewayFactory:
    """Return a function that runs a gateway: config and engine as changes to the usual ones."""

    @asynccontextmanager
    async def run(
        config: GatewayConfig = CONFIG,
        engine: FakeEngineConfig | dict[str, FakeEngineConfig] = ENGINE,
        link: Callable[[str], EngineLink] | None = None,
        **parts_options: Any,
    ) -> AsyncIterator[RunningGateway]:
        engines: dict[str, FakeEngine] = {}
        store: dict[str, Any] = {}
        built: list[Parts] = []

        def make_link(address: str) -> EngineLink:
            if link is not None:
                return link(address)
            chosen = engine.get(address, ENGINE) if isinstance(engine, dict) else engine
            engines[address] = FakeEngine(chosen, store)
            return engines[address]

        def build() -> Parts:
            built.append(build_parts(config, SECRET, make_link, **parts_options))
            return built[0]

        server = GatewayServer(
            create_app(build, is_fake=True, is_open=config.auth == "none"), config
        )
        serving = asyncio.create_task(server.serve_until_stopped())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not server.started or not built[0].pool.is_any_up:
                    if serving.done():
                        serving.result()
                    if server.started and not config.backends:
                        break
                    await asyncio.sleep(0.005)
            yield RunningGateway(built[0], server, engines)
        finally:
            server.should_exit = True
            await serving

    return run


@pytest.fixture
def config() -> GatewayConfig:
    return CONFIG


@pytest.fixture
def engine_config() -> FakeEngineConfig:
    return ENGINE
