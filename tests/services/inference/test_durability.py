"""Sessions that another process goes on with, over a store in a folder."""

from __future__ import annotations

import pytest

from services import contract
from services.contract import ErrorCode
from services.inference.session_store import FolderSessionStore
from worldloom.errors import StoreError


@pytest.fixture
def store(tmp_path):
    return FolderSessionStore(tmp_path)


class RefusingStore(FolderSessionStore):
    """A store that can be told to refuse."""

    is_refusing = True
    num_writes = 0

    def write(self, session_id, name, data):
        self.num_writes += 1
        if self.is_refusing:
            message = "the bucket is on fire"
            raise StoreError(message)
        super().write(session_id, name, data)


def walk(bench, session_id, start, stop):
    for segment in range(start, stop):
        bench.act(session_id, 12 * segment, 12, segment % 2)
        bench.run()
        bench.acknowledge(session_id, segment)


@pytest.fixture
def undisturbed(make_bench):
    bench = make_bench()
    sink = bench.open("whole", seed=3)
    bench.run()
    walk(bench, "whole", 0, 6)
    return sink.frames


def parts_of(store, session_id):
    return [name.split("-", 1)[1].removesuffix(".safetensors") for name in store.names(session_id)]


def test_another_engine_goes_on_after_the_first_was_killed(make_bench, store, undisturbed) -> None:
    first = make_bench(store=store, digest="sha256:1")
    sink = first.open("a", seed=3, is_resumable=True)
    first.run()
    walk(first, "a", 0, 3)
    assert [event.durable_frame_index for event in sink.segments] == [0, 12, 24]
    assert parts_of(store, "a") == [f"{n:08d}-{n + 1:08d}" for n in range(4)]

    second = make_bench(store=store, digest="sha256:1")
    again = second.resume("a", 30)
    second.run()
    ready = again.events[0]
    assert isinstance(ready, contract.SessionReady)
    assert (ready.next_action_index, ready.next_segment_index, ready.is_resumed) == (36, 2, True)
    second.acknowledge("a", 2)
    walk(second, "a", 3, 6)
    assert again.frames == {i: undisturbed[i] for i in range(31, 73)}


def test_frames_that_were_not_stored_are_made_again_but_not_sent(
    make_bench, store, undisturbed
) -> None:
    first = make_bench(store=store)
    first.open("a", seed=3, is_resumable=True)
    first.run()
    walk(first, "a", 0, 2)
    second = make_bench(store=store)
    again = second.resume("a", 54)  # the client had more than was stored
    second.run()
    ready = again.events[0]
    assert (ready.next_action_index, ready.next_segment_index) == (24, 4)
    for segment in range(2, 6):
        second.act("a", 12 * segment, 12, segment % 2)
    second.run()
    assert again.frames == {i: undisturbed[i] for i in range(55, 73)}
    assert [event.segment_index for event in again.segments] == [4, 5]
    assert [event.num_frames for event in again.segments] == [6, 12]


def test_session_that_was_to_finish_is_not_over_while_its_queue_is_lost(make_bench, store) -> None:
    first = make_bench(store=store)
    first.open("a", seed=3, is_resumable=True)
    first.run()
    first.act("a", 0, 36, 1)
    first.send(contract.SessionStop(session_id="a", finish_queue=True))
    first.run()  # two segments: more would need acknowledgements
    second = make_bench(store=store)
    again = second.resume("a", 24)
    second.run()
    [ready] = again.events
    second.act("a", ready.next_action_index, 36 - ready.next_action_index, 1)
    second.send(contract.SessionStop(session_id="a", finish_queue=True))
    second.run()
    assert sorted(again.frames) == list(range(25, 37))


def test_state_of_another_release_is_refused(make_bench, store) -> None:
    first = make_bench(store=store, digest="sha256:1")
    first.open("a", is_resumable=True)
    first.run()
    second = make_bench(store=store, digest="sha256:2")
    refused = second.resume("a", 0)
    second.run()
    assert isinstance(refused.last, contract.ErrorEvent)
    assert refused.last.code is ErrorCode.UNKNOWN_RELEASE
    assert "sha256:1" in refused.last.message
    assert refused.is_complete
    assert second.engine.num_sessions == 0


def test_session_that_is_nowhere_is_unknown(make_bench, store) -> None:
    for bench in (make_bench(store=store), make_bench()):
        refused = bench.resume("a", 0)
        bench.run()
        assert isinstance(refused.last, contract.ErrorEvent)
        assert refused.last.code is ErrorCode.UNKNOWN_SESSION
        assert refused.is_complete
        assert bench.engine.num_sessions == 0


def test_damaged_state_is_lost_and_says_so(make_bench, store) -> None:
    first = make_bench(store=store)
    first.open("a", is_resumable=True)
    first.run()
    walk(first, "a", 0, 3)
    store.delete("a", store.names("a")[1:2])
    second = make_bench(store=store)
    refused = second.resume("a", 0)
    second.run()
    assert isinstance(refused.last, contract.ErrorEvent)
    assert refused.last.code is ErrorCode.STATE_LOST
    assert "units 1 to 2 of the session are missing" in refused.last.message


@pytest.mark.parametrize("ending", ["finished", "stopped", "parked and stopped"])
def test_session_that_is_over_leaves_nothing_in_the_store(make_bench, store, ending) -> None:
    bench = make_bench(store=store)
    sink = bench.open("a", is_resumable=True)
    bench.run()
    walk(bench, "a", 0, 2)
    if ending == "parked and stopped":
        sink.is_gone = True
        bench.run()
        assert bench.engine.num_parked == 1
    bench.send(contract.SessionStop(session_id="a", finish_queue=ending == "finished"))
    bench.run()
    assert (bench.engine.num_sessions, bench.engine.num_parked) == (0, 0)
    assert store.names("a") == []


def test_session_that_was_not_to_be_resumed_is_not_stored(make_bench, store) -> None:
    bench = make_bench(store=store)
    bench.open("a")
    bench.run()
    walk(bench, "a", 0, 2)
    assert store.names("a") == []


def test_parked_session_that_memory_forgot_is_found_in_the_store(
    make_bench, store, undisturbed
) -> None:
    bench = make_bench(store=store, max_parked_sessions=0)
    sink = bench.open("a", seed=3, is_resumable=True)
    bench.run()
    walk(bench, "a", 0, 2)
    bench.act("a", 24, 3)  # waits for more, and is not lost
    sink.is_gone = True
    bench.run()
    assert bench.engine.num_parked == 0
    again = bench.resume("a", 24)
    bench.run()
    assert again.events[0].next_action_index == 27
    bench.act("a", 27, 9)
    bench.run()
    assert again.frames == {i: undisturbed[i] for i in range(25, 37)}


def test_failing_store_is_tried_again_and_play_goes_on(make_bench, tmp_path) -> None:
    store = RefusingStore(tmp_path)
    bench = make_bench(store=store, store_retry_seconds=1.0)
    sink = bench.open("a", is_resumable=True)
    bench.run()
    walk(bench, "a", 0, 3)
    assert len(sink.segments) == 3
    assert store.num_writes == 1  # not more often than once a second
    bench.clock.now = 1.0
    store.is_refusing = False
    bench.run()
    assert parts_of(store, "a") == ["00000000-00000004"]
    walk(bench, "a", 3, 4)
    assert sink.segments[-1].durable_frame_index == 36


def test_snapshot_is_answered_once_it_is_stored(make_bench, store) -> None:
    bench = make_bench(store=store)
    bench.open("a")
    bench.run()
    walk(bench, "a", 0, 2)
    answer = bench.send(contract.SessionSnapshot(session_id="a"))
    assert not answer.responses
    bench.run()
    assert answer.last == contract.SnapshotTaken(session_id="a", frame_index=24)
    assert answer.is_complete
    assert parts_of(store, "a") == ["00000000-00000003"]


def test_snapshot_that_the_store_refuses_is_an_error(make_bench, tmp_path) -> None:
    bench = make_bench(store=RefusingStore(tmp_path))
    bench.open("a")
    bench.run()
    answer = bench.send(contract.SessionSnapshot(session_id="a"))
    bench.run()
    assert isinstance(answer.last, contract.ErrorEvent)
    assert "was not stored: the bucket is on fire" in answer.last.message


def test_snapshot_without_a_store_is_refused(make_bench) -> None:
    bench = make_bench()
    bench.open("a")
    bench.run()
    refused = bench.send(contract.SessionSnapshot(session_id="a")).last
    assert isinstance(refused, contract.ErrorEvent)
    assert refused.code is ErrorCode.WRONG_STATE


def test_snapshot_of_a_session_that_ends_first_is_answered_too(make_bench, store) -> None:
    bench = make_bench(store=store)
    bench.open("a")
    answer = bench.send(contract.SessionSnapshot(session_id="a"))
    bench.send(contract.SessionStop(session_id="a"))
    bench.run()
    assert isinstance(answer.last, contract.ErrorEvent)
    assert answer.is_complete


def test_large_parts_take_the_place_of_small_ones(make_bench, store, undisturbed) -> None:
    bench = make_bench(store=store)
    sink = bench.open("a", seed=3, is_resumable=True)
    bench.run()
    walk(bench, "a", 0, 70)
    names = parts_of(store, "a")
    assert names[0] == "00000000-00000064"
    assert len(names) == 8
    second = make_bench(store=store)
    again = second.resume("a", 840)
    second.run()
    assert again.events[0].next_action_index == 840
    sink.is_gone = True


def test_stopping_engine_stores_what_can_be_resumed(make_bench, store, undisturbed) -> None:
    bench = make_bench(store=store, durable_every_segments=100)
    sink = bench.open("a", seed=3, is_resumable=True)
    bench.run()
    walk(bench, "a", 0, 2)
    bench.act("a", 24, 5)
    bench.engine._keeper._thread.start()
    bench.engine._outbox.start()
    bench.engine.stop()
    assert sink.last == contract.SessionEnd(session_id="a", reason="shutdown", num_frames=24)
    second = make_bench(store=store)
    again = second.resume("a", 24)
    second.run()
    assert again.events[0].next_action_index == 29
    second.act("a", 29, 7)
    second.run()
    assert again.frames == {i: undisturbed[i] for i in range(25, 37)}


def test_second_resume_takes_over_while_the_first_is_fetched(make_bench, store) -> None:
    first = make_bench(store=store)
    first.open("a", is_resumable=True)
    first.run()
    second = make_bench(store=store, num_slots=1)
    one, two = second.resume("a", 0), second.resume("a", 0)
    assert second.engine.num_sessions == 1
    second.run()
    assert one.last == contract.SessionEnd(session_id="a", reason="taken_over", num_frames=0)
    assert isinstance(two.last, contract.SessionReady)
    assert second.engine.num_sessions == 1


def test_session_that_went_on_elsewhere_is_not_taken_from_memory(
    make_bench, store, undisturbed
) -> None:
    first = make_bench(store=store)
    sink = first.open("a", seed=3, is_resumable=True)
    first.run()
    walk(first, "a", 0, 2)
    sink.is_gone = True
    first.run()
    assert first.engine.num_parked == 1
    second = make_bench(store=store)
    second.resume("a", 24)
    second.run()
    walk(second, "a", 2, 4)
    again = first.resume("a", 48)
    first.run()
    assert again.events[0].next_action_index == 48
    assert (first.engine.num_sessions, first.engine.num_parked) == (1, 0)
    walk(first, "a", 4, 6)
    assert again.frames == {i: undisturbed[i] for i in range(49, 73)}


def test_memory_is_enough_where_the_store_knows_no_more(make_bench, tmp_path, undisturbed) -> None:
    bench = make_bench(store=RefusingStore(tmp_path))
    sink = bench.open("a", seed=3, is_resumable=True)
    bench.run()
    walk(bench, "a", 0, 2)
    sink.is_gone = True
    bench.run()
    again = bench.resume("a", 30)  # it had more of a server that is gone
    bench.run()
    assert again.events[0].next_action_index == 24
    walk(bench, "a", 2, 4)
    assert again.frames == {i: undisturbed[i] for i in range(31, 49)}


def test_wish_to_finish_is_not_kept_without_the_actions_before_it(
    make_bench, store, undisturbed
) -> None:
    first = make_bench(store=store)
    sink = first.open("a", seed=3, is_resumable=True)
    first.run()
    for segment in range(4):
        first.act("a", 12 * segment, 12, segment % 2)
    first.send(contract.SessionStop(session_id="a", finish_queue=True))
    first.run()
    assert len(sink.segments) == 2
    second = make_bench(store=store)
    again = second.resume("a", 24)
    second.run()
    assert not again.is_complete
    for segment in range(again.last.next_action_index // 12, 4):
        second.act("a", 12 * segment, 12, segment % 2)
    second.send(contract.SessionStop(session_id="a", finish_queue=True))
    second.run()
    second.acknowledge("a", 3)
    second.run()
    assert again.frames == {i: undisturbed[i] for i in range(25, 49)}
    assert again.last.reason == "finished"
    assert store.names("a") == []


def test_client_is_told_that_it_can_play_once_its_session_can_be_resumed(make_bench, store) -> None:
    bench = make_bench(store=store)
    sink = bench.open("a", is_resumable=True)
    bench.act("a", 0, 12)
    while bench.engine.step():
        pass
    bench.engine._outbox.deliver_pending()
    assert not sink.responses
    bench.run()
    assert [event.type for event in sink.events] == ["session_ready", "frames"]


def test_slow_store_keeps_nobody_waiting_for_long(make_bench, store) -> None:
    bench = make_bench(store=store, max_store_wait_seconds=1.0)
    sink = bench.open("a", is_resumable=True)
    for seconds in (0.0, 1.5):
        assert not sink.responses
        bench.clock.now = seconds
        bench.engine.step()
        bench.engine._outbox.deliver_pending()
    assert isinstance(sink.last, contract.SessionReady)
    bench.run()
    assert len(sink.responses) == 1


def test_finished_session_whose_last_frames_were_lost_ends_elsewhere_by_itself(
    make_bench, store, undisturbed
) -> None:
    first = make_bench(store=store)
    first.open("a", seed=3, is_resumable=True)
    first.run()
    first.act("a", 0, 12)
    first.act("a", 12, 5, 1)
    first.send(contract.SessionStop(session_id="a", finish_queue=True))
    first.run()  # all is made and stored, and nobody has acknowledged it
    first.engine.step()
    first.engine.deliver_pending()
    second = make_bench(store=store)
    again = second.resume("a", 14)
    second.run()
    second.acknowledge("a", 1)
    second.run()
    assert again.frames == {i: undisturbed[i] for i in (15, 16, 17)}
    assert again.last == contract.SessionEnd(session_id="a", reason="finished", num_frames=17)
