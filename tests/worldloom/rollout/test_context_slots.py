import torch
from tiny import CONFIG

from worldloom.model.attention import BlockContext
from worldloom.rollout.context_slots import ContextSlots

TOKENS = CONFIG.tokens_per_latent_frame
NUM_MEMORY, NUM_PAST = CONFIG.num_memory_latents, CONFIG.num_past_latents


HELD = CONFIG.model_copy(update={"memory_refresh_frames": 40})


def slots(config=HELD):
    return ContextSlots(config, dtype=torch.float32, device=torch.device("cpu"))


def committed(latent):
    """Keys that hold the latent's number and values that hold its negative, in every block."""
    number = torch.full((1, TOKENS, 1, 1), latent)
    keys = number.expand(1, -1, CONFIG.num_heads, CONFIG.head_dim).float()
    return [BlockContext(keys + 100 * block, -keys) for block in range(CONFIG.num_blocks)]


def held(slots, block=0):
    """The latent that each slot's keys are of."""
    return slots.blocks[block].keys[0, ::TOKENS, 0, 0].tolist()


def test_slots_begin_empty_and_as_many_as_a_segment_can_see():
    fresh = slots()
    assert fresh.latents == [None] * CONFIG.num_context_latents
    assert len(fresh.blocks) == CONFIG.num_blocks
    shape = (1, CONFIG.num_context_latents * TOKENS, CONFIG.num_heads, CONFIG.head_dim)
    assert all(block.keys.shape == block.values.shape == shape for block in fresh.blocks)
    assert fresh.num_writes == 0


def test_the_past_is_a_ring_behind_memory():
    ring = slots()
    for latent in range(5):
        ring.write(ring.assign_past(latent), committed(latent))
    newest = sorted(latent for latent in ring.latents[NUM_MEMORY:] if latent is not None)
    assert newest == [3, 4]
    assert held(ring)[NUM_MEMORY:] == ring.latents[NUM_MEMORY:]
    assert ring.latents[:NUM_MEMORY] == [None] * NUM_MEMORY
    assert ring.num_writes == 5


def test_a_write_takes_one_latent_into_one_slot_of_every_block():
    some = slots()
    [slot] = some.assign_memory([5], 12)
    tensors = [block.keys.data_ptr() for block in some.blocks]
    some.write(slot, committed(5))
    for index, block in enumerate(some.blocks):
        mine = slice(slot * TOKENS, (slot + 1) * TOKENS)
        assert (block.keys[:, mine] == 5 + 100 * index).all()
        assert (block.values[:, mine] == -5).all()
        block.keys[:, mine] = 0
        assert not block.keys.any()  # no other slot was written
    assert [block.keys.data_ptr() for block in some.blocks] == tensors  # in place, for graphs


def test_memory_keeps_its_latents_for_forty_frames_and_changes_what_it_must():
    some = slots()
    assert some.assign_memory([0, 1, 2], 5) == [0, 1, 2]
    assert some.assign_memory([0, 1, 3], 8) == []  # 12 frames later: too soon
    assert some.assign_memory([0, 1, 3], 15) == [2]  # 40 frames later
    assert some.latents[:NUM_MEMORY] == [0, 1, 3]
    assert some.assign_memory([3, 1, 0], 40) == []  # the same latents, wherever they lie


def test_writes_are_bounded_by_slots_and_frames_along_a_walk():
    """However memory is chosen: at most its slots in 40 frames, and one for each new latent."""
    walked, generator = slots(), torch.Generator().manual_seed(0)
    segment, refresh = CONFIG.segment_latents, HELD.memory_refresh_frames // 4
    writes = []  # (latent at which, how many)
    walked.write(walked.assign_past(0), committed(0))
    for start in range(1, 200, segment):
        pick = torch.randint(0, start, (NUM_MEMORY,), generator=generator)  # flutters all the time
        changed = walked.assign_memory(sorted(set(pick.tolist())), start)
        for slot in changed:
            walked.write(slot, committed(walked.latents[slot]))
        writes.append((start, len(changed)))
        for latent in range(start, start + segment):
            walked.write(walked.assign_past(latent), committed(latent))
        assert held(walked) == [0.0 if x is None else x for x in walked.latents]
    for start, _ in writes:
        within = sum(count for at, count in writes if start <= at < start + refresh)
        assert within <= NUM_MEMORY
    by_memory = sum(count for _, count in writes)
    committed_latents = 1 + segment * len(writes)
    assert walked.num_writes == by_memory + committed_latents
    assert by_memory > NUM_MEMORY  # it did change
