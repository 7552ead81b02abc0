import numpy as np
import torch
from tiny import CONFIG, FRAME_SIZE, INTRINSICS

from worldloom.camera import pose_matrix
from worldloom.model.geometry import RAY_DIM, Geometry
from worldloom.model.rope import AZIMUTH, ELEVATION, X, Z

GEOMETRY = Geometry(CONFIG, INTRINSICS, *FRAME_SIZE)
TOKENS = CONFIG.tokens_per_latent_frame


def poses(*values):
    return torch.tensor(
        np.stack([pose_matrix(np.array(p, float), yaw, pitch) for p, yaw, pitch in values]),
        dtype=torch.float32,
    )[None]


def test_rays_are_unit_directions_from_where_the_camera_stands():
    seen = poses(((1.0, 0.0, 2.0), 0.3, 0.1))
    rays = GEOMETRY.rays(seen, poses(((0, 0, 0), 0.0, 0.0))[:, 0])
    assert rays.shape == (1, 1, TOKENS, CONFIG.patch_size**2 * RAY_DIM)
    by_pixel = rays.unflatten(-1, (-1, RAY_DIM))
    torch.testing.assert_close(by_pixel[..., 3:].norm(dim=-1), torch.ones(by_pixel.shape[:-1]))
    torch.testing.assert_close(by_pixel[0, 0, 0, 0, :3], torch.tensor([1.0, 0.0, 2.0]))


def test_turning_right_moves_the_view_to_higher_azimuth_by_the_same_angle():
    anchor = poses(((0, 0, 0), 0.2, 0.0))
    turned = poses(((0, 0, 0), 0.5, 0.0))
    ages = torch.zeros(1, 1)
    before = GEOMETRY.coordinates(anchor, anchor[:, 0], ages)[..., AZIMUTH]
    after = GEOMETRY.coordinates(turned, anchor[:, 0], ages)[..., AZIMUTH]
    torch.testing.assert_close(after - before, torch.full_like(before, 0.3), atol=1e-5, rtol=0)


def test_upper_tokens_look_up_and_the_anchors_own_pitch_is_kept():
    level, up = poses(((0, 0, 0), 0, 0.0)), poses(((0, 0, 0), 0, 0.25))
    ages = torch.zeros(1, 1)
    flat = GEOMETRY.coordinates(level, level[:, 0], ages)[0, :, ELEVATION]
    assert flat[0] > 0 > flat[-1]
    raised = GEOMETRY.coordinates(up, up[:, 0], ages)[0, :, ELEVATION]
    assert (raised > flat).all()


def test_a_move_of_the_whole_world_changes_nothing():
    def both(yaw, shift):
        c, s = np.cos(yaw), np.sin(yaw)

        def moved(x, z, heading):
            return ((c * x + s * z + shift, 0.0, c * z - s * x - shift), heading + yaw, 0.1)

        anchor, seen = poses(moved(1, 2, 0.4)), poses(moved(1.5, 3, 0.9))
        ages = torch.ones(1, 1)
        return (
            GEOMETRY.rays(seen, anchor[:, 0]),
            GEOMETRY.coordinates(seen, anchor[:, 0], ages),
        )

    for here, there in zip(both(0.0, 0.0), both(1.1, 5.0), strict=True):
        torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_positions_are_metres_in_the_anchors_frame():
    anchor = poses(((0, 0, 0), np.pi / 2, 0.0))
    ahead = poses(((3, 0, 0), np.pi / 2, 0.0))
    found = GEOMETRY.coordinates(ahead, anchor[:, 0], torch.zeros(1, 1))[0, 0]
    torch.testing.assert_close(found[[X, Z]], torch.tensor([0.0, 3.0]), atol=1e-5, rtol=0)
