import math

import pytest
import torch

from worldloom.model.config import TransformerConfig
from worldloom.model.rope import (
    AGE,
    AZIMUTH,
    COLUMN,
    ELEVATION,
    LATENT,
    ROW,
    Frequencies,
    RotaryEmbedding,
    X,
    Z,
    geometry_table,
    lattice_table,
    num_coordinates,
    panorama_table,
    rotate,
)

MG3 = TransformerConfig(
    layout="reference",
    position="lattice",
    dim=3072,
    num_heads=24,
    latent_height=44,
    latent_width=80,
    rope_jitter=0.8,
)
SMALL = TransformerConfig(dim=128, num_heads=4)


def like(config, **changes):
    return config.model_copy(update=changes)


def rope(**changes):
    return RotaryEmbedding(like(SMALL, **changes))


def coordinates(count=3, **values):
    at = torch.zeros(1, count, 5)
    places = {"age": AGE, "azimuth": AZIMUTH, "elevation": ELEVATION, "x": X, "z": Z}
    for name, value in values.items():
        at[..., places[name]] = value
    return at


def vectors(seed, count=3):
    return torch.randn(1, count, 4, 32, generator=torch.Generator().manual_seed(seed))


def theta(head, sigma=0.8, num_heads=24):
    return 10_000 * (1 + sigma * (-1 + 2 * head / (num_heads - 1)))


def test_the_lattice_has_matrix_game_3s_frequencies():
    """omega = theta_h ** (-i / c), 22 pairs for the latent, 21 each for row and column."""
    table = lattice_table(MG3)
    assert table.shape == (24, 3, 64)
    start = 0
    for coordinate, count in ((LATENT, 22), (ROW, 21), (COLUMN, 21)):
        for head in (0, 7, 23):
            expected = [theta(head) ** (-i / count) for i in range(count)]
            found = table[head, coordinate, start : start + count]
            torch.testing.assert_close(found, torch.tensor(expected).double(), atol=0, rtol=1e-6)
        start += count
    assert ((table != 0).sum(dim=1) == 1).all()


def test_jitter_spreads_the_base_of_every_axis_evenly_over_heads():
    """theta_h = 10000 (1 + sigma eps_h): heads 0 and 23 have bases 2,000 and 18,000."""
    assert theta(0) == pytest.approx(2_000)
    assert theta(23) == pytest.approx(18_000)
    slowest = lattice_table(MG3)[:, LATENT, 21]
    bases = slowest ** (-22 / 21)
    expected = torch.linspace(2_000, 18_000, 24, dtype=torch.float64)
    torch.testing.assert_close(bases, expected, atol=0, rtol=1e-9)
    for coordinate, last in ((ROW, 42), (COLUMN, 63)):
        bases = lattice_table(MG3)[:, coordinate, last] ** (-21 / 20)
        torch.testing.assert_close(bases, expected, atol=0, rtol=1e-9)
    plain = lattice_table(like(MG3, rope_jitter=0.0))
    assert (plain == plain[:1]).all()
    alone = lattice_table(like(MG3, num_heads=1, dim=128))  # a single head has the base itself
    assert float(alone[0, LATENT, 21] ** (-22 / 21)) == pytest.approx(10_000)


def test_the_panorama_is_the_lattice_within_a_level_view():
    """To first order at the view's centre: a column is an azimuth, a row an elevation, an age a
    latent the other way round; 90 degrees both ways are as many tokens as the view has."""
    lattice, panorama = lattice_table(MG3), panorama_table(MG3)
    rows, cols = MG3.token_rows, MG3.token_cols
    # A pixel's ray is (x, y, 1) with x, y from -1 to 1: one token is 2 / cols of x, as of azimuth.
    torch.testing.assert_close(
        panorama[:, AZIMUTH, 43:] * 2 / cols, lattice[:, COLUMN, 43:], atol=0, rtol=1e-12
    )
    torch.testing.assert_close(
        panorama[:, ELEVATION, 22:43] * -2 / rows, lattice[:, ROW, 22:43], atol=0, rtol=1e-12
    )
    of_age = (panorama[0, AGE] != 0).nonzero().flatten().tolist()
    assert of_age == list(range(18))
    torch.testing.assert_close(-panorama[:, AGE, :18], lattice[:, LATENT, :18], atol=0, rtol=0)


def test_the_panorama_gives_the_slowest_pairs_of_age_to_x_and_z():
    table = panorama_table(MG3)
    assert (table[0, X] != 0).nonzero().flatten().tolist() == [18, 19]
    assert (table[0, Z] != 0).nonzero().flatten().tolist() == [20, 21]
    # Over 32 latents, the oldest that a stream tells apart, those pairs hardly turned in any head.
    given_up = lattice_table(MG3)[:, LATENT, 18:22] * 32
    assert given_up.max() < 0.1
    with pytest.raises(ValueError, match="too few channels for a panorama"):
        panorama_table(like(SMALL, num_heads=16, position="panorama"))


@pytest.mark.parametrize("position", ["geometry", "panorama"])
def test_every_coordinate_has_a_pair_and_every_pair_one_coordinate(position):
    config = like(SMALL, position=position)
    table = rope(position=position).frequencies.table
    assert table.shape == (4, num_coordinates(config), 16)
    assert ((table != 0).sum(dim=1) == 1).all()
    assert ((table != 0).sum(dim=2) >= 1).all()


def test_a_full_turn_comes_back_to_itself():
    x = vectors(3)
    here, around = (rope()(coordinates(azimuth=a)) for a in (0.3, 0.3 + 2 * math.pi))
    torch.testing.assert_close(rotate(x, here), rotate(x, around), atol=1e-4, rtol=0)
    half = rope()(coordinates(azimuth=0.3 + math.pi))
    assert (rotate(x, here) - rotate(x, half)).abs().max() > 0.1
    for config in (SMALL, like(SMALL, dim=512)):  # wide heads have more than powers of two
        frequencies = geometry_table(config)[:, AZIMUTH]
        assert (frequencies == frequencies.round()).all()


def test_geometry_jitters_time_alone():
    table, plain = (
        geometry_table(like(SMALL, rope_jitter=0.5)),
        geometry_table(like(SMALL, rope_jitter=0.0)),
    )
    torch.testing.assert_close(table[:, 1:], plain[:, 1:])
    ages = table[:, AGE].sum(-1)
    expected = plain[:, AGE].sum(-1) * torch.tensor([0.5, 5 / 6, 7 / 6, 1.5])
    torch.testing.assert_close(ages, expected)


def test_rotation_keeps_lengths_and_its_inverse_undoes_it():
    x = vectors(0)
    turned = rope()(coordinates(azimuth=0.7, age=3.0, x=1.5, z=-2.0, elevation=0.2))
    y = rotate(x, turned)
    assert (y - x).abs().max() > 0.5
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotate(y, turned, inverse=True), x)


def test_a_pair_turns_from_its_first_channel_to_its_second():
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(1, 1, 1, 4)
    angle = torch.tensor([math.pi / 2, math.pi / 2]).expand(1, 1, 1, 2)
    turned = rotate(x, (angle.cos(), angle.sin()))
    torch.testing.assert_close(turned[0, 0, 0], torch.tensor([0.0, 1.0, -1.0, 0.0]))


def test_products_depend_on_differences_alone():
    q, k = vectors(1), vectors(2)

    def product(of_query, of_key):
        left, right = (
            rotate(v, rope()(coordinates(**at))) for v, at in ((q, of_query), (k, of_key))
        )
        return (left * right).sum(-1)

    here = product({"azimuth": 0.9, "x": 1.0, "age": 5.0}, {"azimuth": 0.4, "x": 3.0, "age": 7.0})
    there = product({"azimuth": 0.6, "x": -1.0, "age": 0.0}, {"azimuth": 0.1, "x": 1.0, "age": 2.0})
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)
    other = product({"azimuth": 0.9, "x": 1.0, "age": 5.0}, {"azimuth": 0.4, "x": 3.5, "age": 7.0})
    assert (here - other).abs().max() > 1e-2


def test_angles_are_those_of_the_table_in_its_own_precision():
    precise = rope()
    precise.frequencies.table = geometry_table(SMALL)
    at = coordinates(age=31.0, x=-4.5)
    cosine, sine = precise(at)
    assert cosine.dtype == torch.float64
    expected = torch.einsum("lk,nkp->lnp", at[0].double(), geometry_table(SMALL))
    torch.testing.assert_close(torch.complex(cosine, sine)[0], torch.exp(1j * expected))
    assert rope()(at)[0].dtype == torch.float32


def test_heads_too_narrow_for_the_coordinates_are_refused():
    with pytest.raises(ValueError, match="at least 6 channels"):
        lattice_table(like(SMALL, num_heads=32))
    with pytest.raises(ValueError, match="expected at least 10 channels"):
        geometry_table(like(SMALL, num_heads=16))


def test_frequencies_are_never_rounded_below_float32_and_come_back_from_no_memory():
    exact = torch.tensor([1.0, 1 / 3], dtype=torch.float64)
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), Frequencies(lambda: exact.clone()))
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        network.to(dtype)
        assert network[0].weight.dtype == dtype
        assert torch.equal(network[1].table, exact.float())
    assert torch.equal(network.double()[1].table, exact)
    assert not network.state_dict().keys() & {"1.table"}
    with torch.device("meta"):
        empty = Frequencies(lambda: exact.clone())
    assert empty.table.is_meta
    assert torch.equal(empty.to_empty(device="cpu").table, exact.float())


def test_autocast_does_not_round_angles():
    rope = RotaryEmbedding(SMALL)
    coordinates = 9 * torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0))
    exact = rope(coordinates)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rope(coordinates)
    assert all(torch.equal(a, b) for a, b in zip(exact, found, strict=True))
