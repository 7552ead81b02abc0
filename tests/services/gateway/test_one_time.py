"""Ids that are good for one use."""

from services.gateway.one_time import OneTimeIds


def test_an_id_is_good_once_until_it_is_given_back() -> None:
    ids = OneTimeIds(lambda: 0.0)
    assert ids.take("a", 10.0)
    assert not ids.take("a", 10.0)
    ids.give_back("a")
    assert ids.take("a", 10.0)


def test_expired_ids_are_forgotten() -> None:
    now = 0.0
    ids = OneTimeIds(lambda: now)
    for k in range(100):
        now = float(k)
        ids.take(str(k), now + 5)
    assert len(ids) <= 7
