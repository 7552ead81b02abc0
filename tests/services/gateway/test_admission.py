"""The queue before the slots."""

from __future__ import annotations

import asyncio

import pytest

from services.contract import ErrorCode, SessionError
from services.gateway.admission import Admission
from services.gateway.backends import BackendConfig, BackendPool
from services.gateway.fake_engine import FakeEngine
from services.gateway.routing import Route

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool(engine_config):
    one_slot = engine_config.model_copy(update={"num_slots": 1})
    releases = {"engine:1": "A", "engine:2": "B"}

    def make_link(address: str) -> FakeEngine:
        return FakeEngine(one_slot.model_copy(update={"release": releases[address]}))

    pool = BackendPool(make_link, 0.05)
    for address in releases:
        pool.add(BackendConfig(address=address))
    while not all(backend.is_up for backend in pool):
        await asyncio.sleep(0.001)
    yield pool
    await pool.close()


def ignore(position: int, length: int) -> None:
    pass


async def acquire(admission, release, on_position=ignore, place=None):
    route = Route("s", release=release)
    return await admission.acquire(route, place or admission.place(), on_position)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served_and_positions_are_told(pool) -> None:
    admission = Admission(pool, limit=10, seconds=10.0)
    backend = await acquire(admission, "A")
    told: dict[int, list[int]] = {0: [], 1: []}
    tasks = []
    for k in told:

        def on_position(position: int, _length: int, k: int = k) -> None:
            told[k].append(position)

        tasks.append(asyncio.create_task(acquire(admission, "A", on_position)))
        await settle()
    admission.release(backend)
    assert await tasks[0] is backend
    admission.release(backend)
    assert await tasks[1] is backend
    assert told == {0: [1], 1: [2, 1]}


async def test_who_waits_for_one_release_does_not_hold_up_another(pool) -> None:
    admission = Admission(pool, limit=10, seconds=10.0)
    await acquire(admission, "A")
    waiting = asyncio.create_task(acquire(admission, "A"))
    await settle()
    assert (await acquire(admission, "B")).digest == "B"
    waiting.cancel()


async def test_a_full_queue_refuses_and_a_long_wait_ends(pool) -> None:
    admission = Admission(pool, limit=1, seconds=0.1)
    await acquire(admission, "A")
    waiting = asyncio.create_task(acquire(admission, "A"))
    await settle()
    for work, code in [
        (acquire(admission, "A"), ErrorCode.QUEUE_FULL),
        (waiting, ErrorCode.QUEUE_TIMEOUT),
        (acquire(admission, "C"), ErrorCode.UNKNOWN_RELEASE),
    ]:
        with pytest.raises(SessionError) as caught:
            await work
        assert caught.value.code is code
    assert admission.length == 0


async def test_a_slot_that_is_granted_to_one_who_leaves_goes_to_the_next(pool) -> None:
    admission = Admission(pool, limit=10, seconds=10.0)
    backend = await acquire(admission, "A")
    leaving = asyncio.create_task(acquire(admission, "A"))
    staying = asyncio.create_task(acquire(admission, "A"))
    await settle()
    admission.release(backend)  # granted to the first, which has not run since
    leaving.cancel()
    assert await staying is backend
    assert backend.num_sessions == 1


async def test_who_was_refused_by_the_engine_keeps_its_place(pool) -> None:
    admission = Admission(pool, limit=10, seconds=10.0)
    place = admission.place()
    backend = await acquire(admission, "A")
    later = asyncio.create_task(acquire(admission, "A"))
    await settle()
    earlier = asyncio.create_task(acquire(admission, "A", place=place))
    await settle()
    admission.release(backend)
    assert await earlier is backend
    assert not later.done()
    later.cancel()


async def test_nobody_waits_where_no_backend_is_known() -> None:
    admission = Admission(BackendPool(FakeEngine, 1.0), limit=10, seconds=10.0)
    with pytest.raises(SessionError) as caught:
        await acquire(admission, None)
    assert caught.value.code is ErrorCode.NO_BACKEND
