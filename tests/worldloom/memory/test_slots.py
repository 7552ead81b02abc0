from hypothesis import given
from hypothesis import strategies as st

from worldloom.memory.slots import MemorySlots


def test_empty_slots_are_filled_at_once_in_the_order_of_choice():
    slots = MemorySlots(3, refresh_frames=40)
    assert slots.update([0], now=5) == [0]
    assert slots.update([0, 4], now=6) == [1]
    assert slots.update([0, 4, 2, 3], now=7) == [2]
    assert slots.latents == [0, 4, 2]


def test_a_slot_keeps_its_latent_until_the_time_is_over():
    slots = MemorySlots(1, refresh_frames=40)
    slots.update([1], now=10)
    assert slots.update([2], now=19) == []
    assert slots.latents == [1]
    assert slots.update([2], now=20) == [0]
    assert slots.latents == [2]


def test_a_latent_that_is_still_wanted_stays_where_it_is():
    slots = MemorySlots(2, refresh_frames=4)
    slots.update([1, 2], now=10)
    assert slots.update([2, 3], now=30) == [0]
    assert slots.latents == [3, 2]


def test_nothing_better_leaves_what_is_there():
    slots = MemorySlots(2, refresh_frames=4)
    slots.update([1, 2], now=10)
    assert slots.update([], now=90) == []
    assert slots.latents == [1, 2]


@given(st.lists(st.lists(st.integers(0, 9), max_size=4, unique=True), max_size=30))
def test_no_latent_lies_in_two_slots_and_no_slot_changes_too_soon(choices):
    slots, last = MemorySlots(3, refresh_frames=40), {}
    for number, chosen in enumerate(choices):
        now = 3 * number
        for slot in slots.update(chosen, now):
            assert 4 * (now - last.get(slot, -1000)) >= 40
            last[slot] = now
        held = [latent for latent in slots.latents if latent is not None]
        assert len(set(held)) == len(held)
