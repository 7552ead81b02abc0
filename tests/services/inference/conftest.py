"""An engine without Triton and without threads: the tests call its steps by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from services import contract
from services.inference.engine import Engine, EngineConfig
from services.inference.fake_generator import FakeRelease
from services.inference.request import Request
from services.inference.response import Response


@dataclass
class RecordingSink:
    """Keeps what would have been sent."""

    responses: list[Response] = field(default_factory=list)
    is_gone: bool = False
    is_complete: bool = False

    def send(self, response: Response, *, is_last: bool = False) -> None:
        assert not self.is_complete, "nothing may be sent after the last response"
        self.responses.append(response)
        self.is_complete = is_last

    def is_cancelled(self) -> bool:
        return self.is_gone

    def close(self) -> None:
        self.is_complete = True

    @property
    def events(self) -> list[contract.Event]:
        return [response.event for response in self.responses]

    @property
    def last(self) -> contract.Event:
        return self.responses[-1].event

    @property
    def frames(self) -> dict[int, bytes]:
        """The frames that came, by index; none came twice."""
        pairs = [
            pair
            for response in self.responses
            for pair in zip(response.frame_index, response.frames, strict=True)
        ]
        frames = dict(pairs)
        assert len(frames) == len(pairs), [index for index, _ in pairs]
        return frames

    @property
    def segments(self) -> list[contract.FramesEvent]:
        return [event for event in self.events if isinstance(event, contract.FramesEvent)]


@dataclass
class Clock:
    """Time that moves when told."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """An engine with short ways to talk to it."""

    clock: Clock
    engine: Engine

    def send(
        self, message: contract.Message, tensors: dict[str, np.ndarray] | None = None
    ) -> RecordingSink:
        sink = RecordingSink()
        self.engine.submit(Request(contract.to_json(message), tensors or {}), sink)
        return sink

    def open(self, session_id: str, **fields: object) -> RecordingSink:
        return self.send(contract.SessionStart(session_id=session_id, **fields))

    def act(
        self, session_id: str, action_index: int, num_actions: int = 12, forward: float = 0.0
    ) -> RecordingSink:
        tensors = {
            "keyboard": np.zeros((num_actions, 6), np.float32),
            "mouse": np.zeros((num_actions, 2), np.float32),
        }
        tensors["keyboard"][:, 0] = forward
        message = contract.ActionsMessage(session_id=session_id, action_index=action_index)
        return self.send(message, tensors)

    def acknowledge(self, session_id: str, segment_index: int) -> RecordingSink:
        message = contract.FramesReceived(session_id=session_id, segment_index=segment_index)
        return self.send(message)

    def resume(self, session_id: str, last_frame_index: int, **fields: object) -> RecordingSink:
        message = contract.SessionResume(
            session_id=session_id, last_frame_index=last_frame_index, **fields
        )
        return self.send(message)

    def run(self) -> int:
        num_steps = 0
        while True:
            while self.engine.step():
                num_steps += 1
            self.engine.deliver_pending()
            if not self.engine.step():
                return num_steps
            num_steps += 1


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    """Return the maker of benches: a release (a small fake one by default) and limits."""

    def make(
        release: object = None, store: object = None, digest: str = "", **limits: object
    ) -> Bench:
        clock = Clock()
        config = EngineConfig(**limits)
        engine = Engine(
            release or FakeRelease(8, 8), config, release_digest=digest, store=store, clock=clock
        )
        return Bench(clock, engine)

    return make


@pytest.fixture
def new_sink() -> Callable[[], RecordingSink]:
    """Return the maker of sinks that keep what was sent."""
    return RecordingSink
