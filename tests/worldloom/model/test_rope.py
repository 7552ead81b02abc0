import math

import torch

from worldloom.model.rope import AGE, AZIMUTH, NUM_COORDINATES, GeometryRope, X, rotate


def rope(jitter=0.0):
    return GeometryRope(head_dim=32, num_heads=4, jitter=jitter)


def coordinates(count, **values):
    at = torch.zeros(1, count, NUM_COORDINATES)
    for name, value in values.items():
        at[..., {"age": AGE, "azimuth": AZIMUTH, "x": X}[name]] = value
    return at


def vectors(seed, count=3):
    return torch.randn(1, count, 4, 32, generator=torch.Generator().manual_seed(seed))


def test_inverse_undoes_a_rotation():
    x = vectors(0)
    turned = rope()(coordinates(3, azimuth=0.7, age=3.0, x=1.5))
    torch.testing.assert_close(rotate(rotate(x, turned), turned, inverse=True), x)


def test_products_depend_on_relative_geometry_alone():
    q, k = vectors(1), vectors(2)

    def product(azimuth_q, azimuth_k):
        left = rotate(q, rope()(coordinates(3, azimuth=azimuth_q)))
        right = rotate(k, rope()(coordinates(3, azimuth=azimuth_k)))
        return (left * right).sum(-1)

    torch.testing.assert_close(product(0.9, 0.4), product(0.6, 0.1), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(product(0.9, 0.4), product(0.9, 0.1), atol=1e-2)


def test_a_full_turn_comes_back_to_itself():
    x = vectors(3)
    here, around = (rope()(coordinates(3, azimuth=a)) for a in (0.3, 0.3 + 2 * math.pi))
    torch.testing.assert_close(rotate(x, here), rotate(x, around), atol=1e-4, rtol=1e-4)


def test_jitter_spreads_time_over_heads_and_leaves_directions_alone():
    table = rope(jitter=0.5).table
    plain = rope().table
    torch.testing.assert_close(table[:, AZIMUTH], plain[:, AZIMUTH])
    ages = table[:, AGE].sum(-1)
    assert (ages[1:] > ages[:-1]).all()


def test_every_coordinate_has_a_pair_and_every_pair_one_coordinate():
    table = rope().table[0]
    assert ((table != 0).sum(dim=0) == 1).all()
    assert ((table != 0).sum(dim=1) >= 1).all()
