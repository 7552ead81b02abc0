"""Deliveries: in order, encoded as asked, and none that fails holds up the next."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from services import contract
from services.inference.codec import Codec
from services.inference.engine_config import EngineConfig
from services.inference.outbox import Delivery, Outbox

END = contract.SessionEnd(session_id="a", reason="stopped", num_frames=0)


@dataclass
class RefusingSink:
    """A stream that takes no response but can be closed."""

    calls: list[str] = field(default_factory=list)

    def send(self, response, *, is_last=False):
        self.calls.append("send")
        message = f"{response} is not taken {is_last}"
        raise OSError(message)

    def is_cancelled(self):
        return False

    def close(self):
        self.calls.append("close")


def test_request_is_closed_even_when_its_last_response_is_not_taken() -> None:
    outbox, sink = Outbox(Codec(EngineConfig())), RefusingSink()
    outbox.deliver(Delivery(sink, END))
    assert sink.calls == ["send"]
    outbox.deliver(Delivery(sink, END, is_last=True))
    assert sink.calls == ["send", "send", "close"]


def test_deliveries_go_out_in_order_on_the_thread_and_failures_hold_nobody_up(new_sink) -> None:
    outbox, sink, told = Outbox(Codec(EngineConfig())), new_sink(), []

    def stumble() -> None:
        told.append("stumbled")
        message = "it cannot be counted"
        raise RuntimeError(message)

    outbox.start()
    outbox.post(Delivery(RefusingSink(), END, after=stumble))
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    event = contract.FramesEvent(session_id="a", segment_index=0, num_frames=2, segment_seconds=0.0)
    outbox.post(Delivery(sink, event, frames, 5, after=lambda: told.append("frames")))
    outbox.post(Delivery(sink, END, is_last=True, after=lambda: told.append("end")))
    outbox.stop()
    assert told == ["stumbled", "frames", "end"]
    assert [event.type for event in sink.events] == ["frames", "session_end"]
    assert (sink.responses[0].frame_index, sink.responses[0].action_index) == ((5, 6), (4, 5))
    assert sink.is_complete
