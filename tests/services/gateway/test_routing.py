"""Which backend a session goes to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from services.gateway.routing import Route, choose


@dataclass
class Place:
    address: str
    digest: str = "A"
    model_version: str = "1"
    share: float = 1.0
    num_free: int = 1


def test_the_backend_with_the_most_room_is_chosen() -> None:
    places = [Place("a", num_free=1), Place("b", num_free=3), Place("c", num_free=0)]
    assert choose(places, Route("s")) is places[1]
    assert choose([places[2]], Route("s")) is None


def test_new_sessions_fall_on_releases_by_their_shares_and_always_on_the_same() -> None:
    places = [Place("a", "A", share=0.9, num_free=9), Place("b", "B", share=0.1, num_free=9)]
    fell = Counter(choose(places, Route(str(k))).digest for k in range(2000))
    assert 130 < fell["B"] < 270
    again = Counter(choose(places[::-1], Route(str(k))).digest for k in range(2000))
    assert fell == again


def test_a_share_is_the_releases_however_many_backends_it_has() -> None:
    places = [Place(f"a{k}", "A", share=0.5, num_free=9) for k in range(9)]
    places.append(Place("b", "B", share=0.5, num_free=9))
    fell = Counter(choose(places, Route(str(k))).digest for k in range(1000))
    assert 420 < fell["B"] < 580


def test_a_release_without_room_leaves_its_sessions_to_the_others() -> None:
    places = [Place("a", "A", share=0.0001), Place("b", "B", share=1.0, num_free=0)]
    assert choose(places, Route("s")) is places[0]


def test_a_pin_is_obeyed_by_digest_and_by_version_and_without_a_share() -> None:
    places = [Place("a", "A", "1"), Place("b", "B", "2", share=0.0)]
    assert choose(places, Route("s", release="B")) is places[1]
    assert choose(places, Route("s", release="2")) is places[1]
    assert choose(places, Route("s", release="C")) is None
    assert all(choose(places, Route(str(k))) is places[0] for k in range(50))


def test_a_token_that_allows_some_releases_allows_no_other() -> None:
    places = [Place("a", "A", "1"), Place("b", "B", "2")]
    assert all(choose(places, Route(str(k), allowed=("2",))) is places[1] for k in range(20))
    assert choose(places, Route("s", release="1", allowed=("2",))) is None


def test_a_session_goes_back_to_where_it_was_or_to_its_release() -> None:
    places = [Place("a", num_free=9), Place("b"), Place("c", "B", num_free=99)]
    assert choose(places, Route("s", release="A", address="b")) is places[1]
    assert choose(places, Route("s", release="A", address="gone")) is places[0]
    assert choose(places, Route("s", release="A", address="b", without="b")) is places[0]
