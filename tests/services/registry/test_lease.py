"""One holder at a time; a dead or late holder is followed."""

from __future__ import annotations

import threading
import time

import pytest

from services.registry.lease import Lease, Owner
from worldloom.errors import PromotionError


def lease(store, **changes) -> Lease:
    return Lease(store, name="worldloom/champion", actor="tester", **changes)


def test_a_held_lease_is_refused_with_its_holder(store) -> None:
    with (
        lease(store) as held,
        pytest.raises(PromotionError, match=r"held for tester by process \d+"),
        lease(store, wait_seconds=0.3),
    ):
        pass
    with lease(store, wait_seconds=0.3) as following:
        assert following.token == 2
    assert held.token == 0


def test_a_lease_that_is_released_goes_to_the_one_who_waits(store) -> None:
    first = lease(store).__enter__()
    threading.Timer(0.4, lambda: first.__exit__()).start()
    started = time.monotonic()
    with lease(store, wait_seconds=10):
        assert time.monotonic() - started > 0.3


class InterruptedStore:
    """The store, on which a rival acts just after a record was first read."""

    def __init__(self, store, rival) -> None:
        self.store, self.rival = store, rival

    def __getattr__(self, name):
        return getattr(self.store, name)

    def get_record(self, name):
        record = self.store.get_record(name)
        rival, self.rival = self.rival, lambda: None
        rival()
        return record


def test_who_comes_between_looking_and_taking_keeps_the_lease(store) -> None:
    with lease(store):
        pass
    rival = lease(store)
    late = lease(InterruptedStore(store, rival.__enter__), wait_seconds=0.3)
    with pytest.raises(PromotionError, match="is held for tester"):
        late.__enter__()
    rival.require_held()


def test_an_expired_lease_is_followed_and_its_holder_told(store) -> None:
    clock = {"now": 1000.0}
    slow = lease(store, ttl_seconds=10, now=lambda: clock["now"]).__enter__()
    slow.require_held()
    clock["now"] = 1011.0
    with pytest.raises(PromotionError, match="expired"):
        slow.require_held()
    with lease(store, ttl_seconds=10, now=lambda: clock["now"], wait_seconds=0) as following:
        assert following.token == 2
        clock["now"] = 1005.0
        with pytest.raises(PromotionError, match="taken over"):
            slow.require_held()


def test_the_lease_of_a_process_that_died_here_is_followed_at_once(store) -> None:
    dead = Owner.this_process().model_copy(update={"started": 1.0})
    lease(store, owner=dead).__enter__()
    with lease(store, wait_seconds=0) as following:
        assert following.token == 2


def test_a_process_of_another_machine_counts_as_alive_until_its_lease_ends(store) -> None:
    far = Owner.this_process().model_copy(update={"process_space": "elsewhere", "pid": 1})
    lease(store, owner=far).__enter__()
    with pytest.raises(PromotionError, match="is held"), lease(store, wait_seconds=0):
        pass
