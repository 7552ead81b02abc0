import numpy as np
import pytest
import torch
from tiny import CONFIG, INTRINSICS

from worldloom.camera import (
    Intrinsics,
    cell_ray_maps,
    framewise_relative,
    pose_matrix,
    ray_cells,
    ray_grid,
    world_rays,
)
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import Geometry, ray_dim
from worldloom.model.rope import AGE, AZIMUTH, ELEVATION, X, Z

GEOMETRY = Geometry(CONFIG, INTRINSICS)
TOKENS = CONFIG.tokens_per_latent_frame
REFERENCE = TransformerConfig(
    layout="reference",
    position="lattice",
    latent_height=4,
    latent_width=6,
    spatial_stride=8,
    ray_samples=8,
)


def poses(*values):
    return torch.tensor(
        np.stack([pose_matrix(np.array(p, float), yaw, pitch) for p, yaw, pitch in values]),
        dtype=torch.float32,
    )[None]


ORIGIN = poses(((0, 0, 0), 0.0, 0.0))


def test_rays_of_the_reference_are_the_cameras_at_full_resolution():
    """Of a token: 6 numbers, then a latent pixel's 8 x 8 pixels, then the patch's 2 x 2."""
    config = REFERENCE
    camera = Intrinsics.reference(*config.frame_size)
    walk = poses(((0, 0, 0), 0.1, 0.0), ((1, 0, 2), 0.5, 0.2), ((1, 0, 4), 0.9, -0.3))[0]
    relative = framewise_relative(walk.double().numpy())
    cells = ray_cells(camera, *config.frame_size, config.latent_height, config.latent_width)
    maps = cell_ray_maps(relative, cells)  # [T, 6 K, H, W]
    found = Geometry(config, camera).rays(torch.from_numpy(relative).float()[None])
    assert found.shape == (1, 3, config.tokens_per_latent_frame, ray_dim(config))
    assert ray_dim(config) == 6 * 8 * 8 * 2 * 2
    for row in range(config.token_rows):
        for col in range(config.token_cols):
            patch = maps[:, :, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
            expected = torch.from_numpy(patch.reshape(3, -1).copy())
            token = found[0, :, row * config.token_cols + col]
            torch.testing.assert_close(token, expected, atol=1e-6, rtol=0)


def test_rays_of_one_sample_are_those_of_latent_pixels():
    """A stream's rays: one a latent pixel, at its centre, seen from the anchor's place."""
    seen = poses(((1.0, 0.0, 2.0), 0.3, 0.1))
    rays = GEOMETRY.rays_from(seen, ORIGIN[:, 0])
    grid = ray_grid(INTRINSICS, *CONFIG.frame_size, CONFIG.latent_height, CONFIG.latent_width)
    expected = world_rays(seen[0].double().numpy(), grid)[0]  # [H, W, 6]
    cut = expected.reshape(CONFIG.token_rows, 2, CONFIG.token_cols, 2, 6).transpose(0, 2, 4, 1, 3)
    expected = torch.from_numpy(cut.reshape(TOKENS, ray_dim(CONFIG)).copy()).float()
    torch.testing.assert_close(rays[0, 0], expected, atol=1e-5, rtol=0)


def test_a_ray_worked_out_by_hand():
    """Latent pixel (0, 3) of 4 x 4 over 32 x 32 pixels at 90 degrees: centre (28, 4), so the ray
    is (12, -12, 16) / 16 = (0.75, -0.75, 1), over its length sqrt(2.125); turned right by 90
    degrees (x, y, z) becomes (z, y, -x)."""
    turned = poses(((5.0, 0.0, 6.0), np.pi / 2, 0.0))
    rays = GEOMETRY.rays_from(turned, ORIGIN[:, 0])[0, 0, 1]  # the token of the upper right patch
    origin, direction = rays.reshape(6, 2, 2)[:3], rays.reshape(6, 2, 2)[3:]
    length = 2.125**0.5
    expected = torch.tensor([1.0, -0.75, -0.75]) / length
    torch.testing.assert_close(direction[:, 0, 1], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(origin[:, 0, 1], torch.tensor([5.0, 0.0, 6.0]), atol=1e-5, rtol=0)


def test_directions_are_of_unit_length():
    rays = GEOMETRY.rays_from(poses(((1.0, 0.0, 2.0), 0.3, 0.1)), ORIGIN[:, 0])
    directions = rays.unflatten(-1, (6, -1))[..., 3:, :]
    torch.testing.assert_close(directions.norm(dim=-2), torch.ones(1, 1, TOKENS, 4))


def test_turning_right_moves_the_view_to_higher_azimuth_by_the_same_angle():
    anchor = poses(((0, 0, 0), 0.2, 0.0))
    turned = poses(((0, 0, 0), 0.5, 0.0))
    ages = torch.zeros(1, 1)
    before = GEOMETRY.coordinates_from(anchor, anchor[:, 0], ages)[..., AZIMUTH]
    after = GEOMETRY.coordinates_from(turned, anchor[:, 0], ages)[..., AZIMUTH]
    torch.testing.assert_close(after - before, torch.full_like(before, 0.3), atol=1e-5, rtol=0)


def test_upper_tokens_look_up_and_the_anchors_own_pitch_is_kept():
    level, up = poses(((0, 0, 0), 0.0, 0.0)), poses(((0, 0, 0), 0.0, 0.25))
    ages = torch.zeros(1, 1)
    flat = GEOMETRY.coordinates_from(level, level[:, 0], ages)[0, :, ELEVATION]
    assert flat[0] > 0 > flat[-1]
    raised = GEOMETRY.coordinates_from(up, up[:, 0], ages)[0, :, ELEVATION]
    assert (raised > flat).all()


def test_a_move_of_the_whole_world_changes_nothing():
    def both(yaw, shift):
        c, s = np.cos(yaw), np.sin(yaw)

        def moved(x, z, heading):
            return ((c * x + s * z + shift, 0.0, c * z - s * x - shift), heading + yaw, 0.1)

        anchor, seen = poses(moved(1, 2, 0.4)), poses(moved(1.5, 3, 0.9))
        ages = torch.ones(1, 1)
        return (
            GEOMETRY.rays_from(seen, anchor[:, 0]),
            GEOMETRY.coordinates_from(seen, anchor[:, 0], ages),
        )

    for here, there in zip(both(0.0, 0.0), both(1.1, 5.0), strict=True):
        torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_positions_are_metres_in_the_anchors_frame_and_ages_are_those_given():
    anchor = poses(((0, 0, 0), np.pi / 2, 0.0))
    ahead = poses(((3, 0, 0), np.pi / 2, 0.0), ((0, 0, 2), 0.0, 0.0))
    found = GEOMETRY.coordinates_from(ahead, anchor[:, 0], torch.tensor([[4.0, 7.0]]))
    by_latent = found.unflatten(1, (2, TOKENS))
    expected = torch.tensor([[4.0, 0.0, 3.0], [7.0, -2.0, 0.0]])  # the other one is to the left
    torch.testing.assert_close(by_latent[0, :, 0][:, [AGE, X, Z]], expected, atol=1e-5, rtol=0)


def test_an_anchor_that_looks_straight_down_still_gives_numbers():
    down = poses(((0, 0, 0), 0.0, -np.pi / 2))
    rays = GEOMETRY.rays_from(down, down[:, 0])
    coordinates = GEOMETRY.coordinates_from(down, down[:, 0], torch.zeros(1, 1))
    assert rays.isfinite().all()
    assert coordinates.isfinite().all()


@pytest.mark.parametrize("first", [0, 61])
def test_the_lattice_numbers_latents_rows_and_columns_from_their_own_zeros(first):
    geometry = Geometry(REFERENCE, Intrinsics.reference(*REFERENCE.frame_size))
    found = geometry.lattice_coordinates(torch.tensor([[7, first]]))
    rows, cols = REFERENCE.token_rows, REFERENCE.token_cols
    expected = [[t, r, c] for t in (7, first) for r in range(rows) for c in range(cols)]
    assert found.tolist() == [expected]


def test_at_the_views_centre_a_token_is_a_lattice_step_of_azimuth_and_elevation():
    """What `panorama` frequencies count on: 2 / columns and 2 / rows of a radian a token."""
    config = TransformerConfig(latent_height=44, latent_width=80, position="panorama")
    geometry = Geometry(config, Intrinsics.reference(*config.frame_size))
    found = geometry.coordinates_from(ORIGIN, ORIGIN[:, 0], torch.zeros(1, 1))[0]
    by_place = found.unflatten(0, (config.token_rows, config.token_cols))
    right, down = (
        by_place[11, 20, AZIMUTH] - by_place[11, 19, AZIMUTH],
        by_place[11, 20, ELEVATION] - by_place[10, 20, ELEVATION],
    )
    assert float(right) == pytest.approx(2 / config.token_cols, rel=1e-2)
    assert float(down) == pytest.approx(-2 / config.token_rows, rel=1e-2)
    edge = by_place[11, 1, AZIMUTH] - by_place[11, 0, AZIMUTH]
    assert float(edge) < 0.7 * 2 / config.token_cols  # a flat image's edge is not a lattice


def test_autocast_does_not_round_places():
    walk = poses(((40.3, 0, -70.1), 2.9, 0.1), ((41.7, 0, -68.2), 3.0, 0.0))
    anchor, ages = walk[:, 0], torch.zeros(1, 2)
    exact = GEOMETRY.rays_from(walk, anchor), GEOMETRY.coordinates_from(walk, anchor, ages)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = GEOMETRY.rays_from(walk, anchor), GEOMETRY.coordinates_from(walk, anchor, ages)
    assert all(torch.equal(a, b) for a, b in zip(exact, found, strict=True))
