import pytest

from worldloom.memory.paging import PayloadCache


def test_a_payload_that_is_there_is_not_made_again():
    cache = PayloadCache[str](2)
    assert cache.get(3, lambda index: f"made {index}") == "made 3"
    assert cache.get(3, lambda index: "again") == "made 3"
    assert cache.num_recomputed == 1


def test_the_least_recently_used_goes_first():
    cache = PayloadCache[int](2)
    cache.put(1, 10)
    cache.put(2, 20)
    cache.get(1, lambda index: -1)
    cache.put(3, 30)
    assert (1 in cache, 2 in cache, 3 in cache) == (True, False, True)
    assert len(cache) == 2


def test_a_dropped_payload_is_made_again_from_its_index():
    cache = PayloadCache[int](1)
    for index in (0, 1, 0):
        assert cache.get(index, lambda index: index * index + 7) == index * index + 7
    assert cache.num_recomputed == 3


def test_putting_twice_keeps_the_newer():
    cache = PayloadCache[str](2)
    cache.put(1, "old")
    cache.put(1, "new")
    assert cache.get(1, lambda index: "made") == "new"
    assert len(cache) == 1


def test_clearing_drops_everything():
    cache = PayloadCache[int](2)
    cache.put(1, 1)
    cache.clear()
    assert cache.get(1, lambda index: 5) == 5


def test_a_cache_for_nothing_is_refused():
    with pytest.raises(ValueError, match="capacity=0: expected at least 1"):
        PayloadCache[int](0)


def test_what_is_not_wanted_any_more_is_dropped():
    cache = PayloadCache[str](4)
    for index in range(4):
        cache.put(index, str(index))
    cache.keep_only({1, 3, 9})
    assert [index for index in range(4) if index in cache] == [1, 3]
