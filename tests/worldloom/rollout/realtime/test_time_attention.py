"""Attention over time at each place: places do not see one another."""

import torch
from torch import nn

from worldloom.rollout.realtime.time_attention import PlaceKeys, attend_in_time

TIMES, PLACES, HEADS, DIM = 3, 4, 2, 8
NORM = nn.RMSNorm(DIM, eps=1e-6).requires_grad_(requires_grad=False)
ROTATION = torch.ones(1, TIMES, 1, DIM // 2), torch.zeros(1, TIMES, 1, DIM // 2)


def draw(rows, seed):
    return torch.randn(rows, HEADS * DIM, generator=torch.Generator().manual_seed(seed))


def rows_of(place):
    return [time * PLACES + place for time in range(TIMES)]


def test_a_place_sees_its_own_latents_alone():
    query, keys, values = (draw(TIMES * PLACES, seed) for seed in range(3))
    before = attend_in_time(query, PlaceKeys(keys, values, NORM), NORM, ROTATION, PLACES)
    values[rows_of(2)] += 1
    after = attend_in_time(query, PlaceKeys(keys, values, NORM), NORM, ROTATION, PLACES)
    torch.testing.assert_close(after[rows_of(2)], before[rows_of(2)] + 1)
    assert torch.equal(after[rows_of(1)], before[rows_of(1)])


def test_shared_keys_are_read_by_every_place():
    query, (keys, values) = draw(TIMES * PLACES, 0), draw(2 * TIMES, 1).chunk(2)
    shared = attend_in_time(query, PlaceKeys(keys, values, None), NORM, ROTATION, PLACES)
    alone = attend_in_time(query[rows_of(3)], PlaceKeys(keys, values, None), NORM, ROTATION, 1)
    torch.testing.assert_close(shared[rows_of(3)], alone)
