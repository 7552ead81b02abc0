"""An engine that is asked to come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from services import contract
from services.contract import ErrorCode
from services.inference.drain import DrainSign, ask_to_drain
from services.inference.engine import Engine
from services.inference.engine_config import EngineConfig
from services.inference.fake_generator import FakeRelease
from services.inference.session_store import FolderSessionStore


@pytest.fixture
def draining(make_bench, tmp_path: Path):
    """Return a maker of benches whose engines look for a file, and that file."""
    sign = tmp_path / "drain"

    def make(*, has_store: bool = True):
        bench = make_bench()
        bench.engine = Engine(
            FakeRelease(8, 8),
            EngineConfig(),
            store=FolderSessionStore(tmp_path / "store") if has_store else None,
            drain=DrainSign(sign, clock=bench.clock),
            clock=bench.clock,
        )
        return bench

    return make, sign


def test_sessions_that_can_be_resumed_go_at_once_and_the_others_at_the_end(draining) -> None:
    make, sign = draining
    bench = make()
    resumable, other = bench.open("a", is_resumable=True), bench.open("b")
    bench.run()
    bench.act("a", 0, 17)
    bench.run()
    ask_to_drain(sign, 2.5)
    bench.run()
    assert resumable.last == contract.SessionEnd(session_id="a", reason="shutdown", num_frames=12)
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (1, 0)
    refused = bench.open("c").last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.SHUTTING_DOWN
    bench.clock.now = 2.0
    bench.act("b", 0, 12)
    bench.run()
    assert len(other.segments) == 1
    bench.clock.now = 2.5
    bench.run()
    assert other.last == contract.SessionEnd(session_id="b", reason="shutdown", num_frames=12)
    sign.unlink()
    next_bench = make()
    again = next_bench.resume("a", 12)
    next_bench.run()
    assert again.last.next_action_index == 17


def test_client_is_told_once_its_session_is_stored(draining) -> None:
    make, sign = draining
    bench = make()
    sink = bench.open("a", is_resumable=True)
    bench.run()
    ask_to_drain(sign, 9.0)
    bench.engine.step()
    bench.engine._outbox.deliver_pending()
    assert not sink.is_complete
    bench.engine._keeper.work_pending()
    bench.engine._outbox.deliver_pending()
    assert sink.last == contract.SessionEnd(session_id="a", reason="shutdown", num_frames=0)


def test_without_a_store_nothing_can_be_handed_over(draining) -> None:
    make, sign = draining
    bench = make(has_store=False)
    sink = bench.open("a", is_resumable=True)
    bench.run()
    ask_to_drain(sign, 1.0)
    bench.run()
    assert not sink.is_complete
    bench.clock.now = 1.0
    bench.run()
    assert sink.last == contract.SessionEnd(session_id="a", reason="shutdown", num_frames=0)


@pytest.mark.parametrize(("text", "seconds"), [("3\n", 3.0), ("0.5", 0.5), ("", 0.0), ("x", 0.0)])
def test_file_names_the_seconds(tmp_path: Path, text: str, seconds: float) -> None:
    sign = DrainSign(tmp_path / "drain", clock=lambda: 10.0)
    assert sign.end_at() is None
    (tmp_path / "drain").write_text(text)
    assert sign.end_at() == 10.0 + seconds


def test_engine_without_a_file_is_never_asked() -> None:
    assert DrainSign().end_at() is None
