"""An exact pinhole renderer of procedural worlds in numpy, several frames at once.

Everything in a world is geometry (pillars are cylinders, not billboards), so a frame can be
rendered at any pose without roll. Rays that share a column share their walk through the grid where
no pose has pitch. It does not know actions or clips.
"""

from __future__ import annotations

import cv2
import numpy as np

from worldloom.arrays import ByteArray, FloatArray, IntArray, SingleArray
from worldloom.camera import Intrinsics
from worldloom.data.sources.procedural_world import (
    CELL_METRES,
    EYE_HEIGHT_METRES,
    FACES,
    FLOOR_TILE_METRES,
    GRID_CELLS,
    TEXTURE_SIZE,
    WALL_HEIGHT_METRES,
    WORLD_METRES,
    World,
)

BATCH_FRAMES = 8
LEVEL_SINE = 1e-9


def render_poses(
    world: World,
    poses_c2w: FloatArray,
    intrinsics: Intrinsics,
    height: int,
    width: int,
    *,
    supersample: int = 1,
) -> ByteArray:
    """Render poses [F, 4, 4] to frames [F, height, width, 3].

    With `supersample` = n every pixel is the mean of n x n rays.
    """
    frames = np.empty((len(poses_c2w), height, width, 3), np.uint8)
    n = supersample
    fine = Intrinsics(
        fx=intrinsics.fx * n, fy=intrinsics.fy * n, cx=intrinsics.cx * n, cy=intrinsics.cy * n
    )
    is_level = np.abs(poses_c2w[:, 1, 2]) < LEVEL_SINE
    for members in (np.flatnonzero(is_level), np.flatnonzero(~is_level)):
        for start in range(0, len(members), BATCH_FRAMES):
            batch = members[start : start + BATCH_FRAMES]
            poses = poses_c2w[batch].astype(np.float32)
            colours = _render_batch(world, poses, fine, height * n, width * n)
            for index, colour in zip(batch, colours, strict=True):
                small = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA)
                frames[index] = np.clip(small, 0, 255)
    return frames


def surface_depths(
    world: World, poses_c2w: FloatArray, intrinsics: Intrinsics, height: int, width: int
) -> FloatArray:
    """Return how far the surface of each pixel's middle lies along the optical axis, metres."""
    depths = np.empty((len(poses_c2w), height, width))
    x = (np.arange(width) + 0.5 - intrinsics.cx) / intrinsics.fx
    y = (np.arange(height) + 0.5 - intrinsics.cy) / intrinsics.fy
    rays = np.stack(np.broadcast_arrays(x[None], y[:, None], np.float64(1)), axis=-1)
    for index, pose in enumerate(poses_c2w.astype(np.float64)):
        along = rays @ pose[:3, :3].T
        length = np.hypot(along[..., 0], along[..., 2])
        direction = (along[..., [0, 2]] / length[..., None]).astype(np.float32)
        origin = np.broadcast_to(pose[[0, 2], 3].astype(np.float32), direction.shape)
        wall, _, _ = _cast(world, *(v.ravel() for v in (*_planes(origin), *_planes(direction))))
        slope, eye = along[..., 1] / length, float(pose[1, 3])
        reach = np.minimum(wall.reshape(length.shape), _ground_reach(slope, eye))
        reach = np.minimum(reach, _pillar_reach(world, origin, direction, slope, eye))
        depths[index] = reach / length
    return depths


def _planes(pairs: SingleArray) -> tuple[SingleArray, SingleArray]:
    return pairs[..., 0], pairs[..., 1]


def _ground_reach(slope: FloatArray, eye: float) -> FloatArray:
    """Return the metres along the plane to the floor or the ceiling of each ray."""
    safe = np.where(np.abs(slope) < LEVEL_SINE, LEVEL_SINE, slope)
    limit = np.where(safe > 0, EYE_HEIGHT_METRES, EYE_HEIGHT_METRES - WALL_HEIGHT_METRES)
    return np.asarray((limit - eye) / safe)


def _pillar_reach(
    world: World, origin: SingleArray, direction: SingleArray, slope: FloatArray, eye: float
) -> FloatArray:
    """Return the metres along the plane to the nearest pillar of each ray, infinite for none."""
    nearest = np.full(slope.shape, np.inf)
    for x, z, radius, tall in world.pillars:
        to_x, to_z = x - origin[..., 0], z - origin[..., 1]
        along = to_x * direction[..., 0] + to_z * direction[..., 1]
        offset = to_x * direction[..., 1] - to_z * direction[..., 0]
        inside = radius * radius - offset * offset
        reach = along - np.sqrt(np.maximum(inside, 0))
        is_hit = (inside > 0) & (reach > 0.05) & (eye + slope * reach > 1 - tall)
        nearest = np.where(is_hit, np.minimum(nearest, reach), nearest)
    return nearest


def _render_batch(
    world: World, poses: SingleArray, intrinsics: Intrinsics, height: int, width: int
) -> SingleArray:
    """Render a few poses at once.

    Rays are [F, rows, W, 2] in the plane, rows = 1 where no pose has pitch (all the pixels of a
    column then share their direction) and H otherwise; slopes are metres down per metre along.
    """
    x = ((np.arange(width) + 0.5 - intrinsics.cx) / intrinsics.fx).astype(np.float32)
    y = ((np.arange(height) + 0.5 - intrinsics.cy) / intrinsics.fy).astype(np.float32)
    rotation = poses[:, None, None, :3, :3]
    level = bool((np.abs(poses[:, 1, 2]) < LEVEL_SINE).all())
    rows = np.zeros((1, 1), np.float32) if level else y[:, None]
    along_x = rotation[..., 0, 0] * x + rotation[..., 0, 1] * rows + rotation[..., 0, 2]
    along_z = rotation[..., 2, 0] * x + rotation[..., 2, 1] * rows + rotation[..., 2, 2]
    length = np.sqrt(along_x * along_x + along_z * along_z)
    down = rotation[..., 1, 1] * y[:, None] + rotation[..., 1, 2]
    slope = down / length
    direction_x, direction_z = along_x / length, along_z / length
    origin_x = np.broadcast_to(poses[:, None, None, 0, 3], direction_x.shape)
    origin_z = np.broadcast_to(poses[:, None, None, 2, 3], direction_x.shape)
    below_eye = poses[:, None, None, 1, 3]
    distance, face, across = _cast(
        world,
        origin_x.ravel(),
        origin_z.ravel(),
        direction_x.ravel(),
        direction_z.ravel(),
    )
    shape = direction_x.shape
    distance, face, across = (
        distance.reshape(shape),
        face.reshape(shape),
        across.reshape(shape),
    )
    colour = _shade_walls(world, distance, face, across, slope, below_eye)
    ground = (origin_x, origin_z, direction_x, direction_z)
    _paint_ground(world, colour, ground, distance, slope, below_eye)
    _paint_pillars(world, colour, ground, distance, slope, below_eye)
    return colour


def _cast(
    world: World, x: SingleArray, z: SingleArray, dx: SingleArray, dz: SingleArray
) -> tuple[SingleArray, IntArray, SingleArray]:
    """Walk rays through the grid; return distance, face index and texture coordinate [N]."""
    tiny = np.float32(1e-9)
    dx = np.where(np.abs(dx) < tiny, tiny, dx)
    dz = np.where(np.abs(dz) < tiny, tiny, dz)
    cell_x = np.floor(x / CELL_METRES).astype(np.int64)
    cell_z = np.floor(z / CELL_METRES).astype(np.int64)
    step_x, step_z = np.where(dx > 0, 1, -1), np.where(dz > 0, 1, -1)
    delta_x, delta_z = np.abs(CELL_METRES / dx), np.abs(CELL_METRES / dz)
    next_x = ((cell_x + (dx > 0)) * CELL_METRES - x) / dx
    next_z = ((cell_z + (dz > 0)) * CELL_METRES - z) / dz
    distance = np.full(x.shape, WORLD_METRES * 2, np.float32)
    is_x_face = np.zeros(x.shape, bool)
    active = np.arange(len(x))
    for _ in range(2 * GRID_CELLS):
        crosses_x = next_x[active] < next_z[active]
        on_x, on_z = active[crosses_x], active[~crosses_x]
        distance[on_x], distance[on_z] = next_x[on_x], next_z[on_z]
        cell_x[on_x] += step_x[on_x]
        cell_z[on_z] += step_z[on_z]
        next_x[on_x] += delta_x[on_x]
        next_z[on_z] += delta_z[on_z]
        is_x_face[on_x], is_x_face[on_z] = True, False
        np.clip(cell_x, 0, GRID_CELLS - 1, out=cell_x)
        np.clip(cell_z, 0, GRID_CELLS - 1, out=cell_z)
        active = active[~world.walls[cell_x[active], cell_z[active]]]
        if not len(active):
            break
    side = np.where(is_x_face, np.where(dx > 0, 0, 1), np.where(dz > 0, 2, 3))
    face = (cell_x * GRID_CELLS + cell_z) * FACES + side
    along = np.where(is_x_face, z + distance * dz, x + distance * dx) / CELL_METRES
    return distance, face, (along - np.floor(along)).astype(np.float32)


def _fade(distance: SingleArray) -> SingleArray:
    """Return how much of a texture's contrast is left: texels below a pixel would only flicker."""
    return np.asarray(1 / (1 + np.square(distance / 9)), np.float32)


def _light(distance: SingleArray) -> SingleArray:
    return np.asarray(1 / (1 + distance / 30), np.float32)


def _shade_walls(
    world: World,
    distance: SingleArray,
    face: IntArray,
    across: SingleArray,
    slope: SingleArray,
    eye: SingleArray,
) -> SingleArray:
    """Return wall colours [F, H, W, 3] as if every pixel hit a wall."""
    drop = eye + slope * distance + EYE_HEIGHT_METRES
    row = np.clip(drop * (TEXTURE_SIZE / WALL_HEIGHT_METRES), 0, TEXTURE_SIZE - 1).astype(np.int64)
    column = np.minimum((across * TEXTURE_SIZE).astype(np.int64), TEXTURE_SIZE - 1)
    texel = (face * TEXTURE_SIZE * TEXTURE_SIZE + column) + row * TEXTURE_SIZE
    mean = world.wall_means[face]
    light = (_light(distance) * np.where(face % FACES < 2, 0.8, 1.0).astype(np.float32))[..., None]
    keep = _fade(distance)[..., None]
    colour = world.wall_textures.reshape(-1, 3)[texel]
    colour *= keep * light
    colour += mean * ((1 - keep) * light)
    return np.asarray(colour, np.float32)


def _paint_ground(
    world: World,
    colour: SingleArray,
    ground: tuple[SingleArray, SingleArray, SingleArray, SingleArray],
    distance: SingleArray,
    slope: SingleArray,
    eye: SingleArray,
) -> None:
    """Paint floor and ceiling over the pixels whose ray meets them before its wall."""
    origin_x, origin_z, direction_x, direction_z = ground
    safe = np.where(np.abs(slope) < 1e-6, np.float32(1e-6), slope)
    limit = np.where(safe > 0, EYE_HEIGHT_METRES, EYE_HEIGHT_METRES - WALL_HEIGHT_METRES)
    reach = (limit - eye).astype(np.float32) / safe
    hit = np.flatnonzero(reach < distance)
    reach = reach.ravel()[hit]
    x = _at(origin_x, slope.shape, hit) + reach * _at(direction_x, slope.shape, hit)
    z = _at(origin_z, slope.shape, hit) + reach * _at(direction_z, slope.shape, hit)
    tiles = int(WORLD_METRES / FLOOR_TILE_METRES)
    column = np.clip(x / FLOOR_TILE_METRES, 0, tiles - 1).astype(np.int64)
    row = np.clip(z / FLOOR_TILE_METRES, 0, tiles - 1).astype(np.int64)
    both = np.concatenate([world.floor.reshape(-1, 3), world.ceiling.reshape(-1, 3)])
    overhead = (slope.ravel()[hit] < 0) * (tiles * tiles)
    texel = both[column * tiles + row + overhead]
    mean = np.stack([world.floor.mean((0, 1)), world.ceiling.mean((0, 1))])[(overhead > 0) * 1]
    keep = _fade(reach)[:, None]
    colour.reshape(-1, 3)[hit] = (mean + (texel - mean) * keep) * _light(reach)[:, None]


def _paint_pillars(
    world: World,
    colour: SingleArray,
    ground: tuple[SingleArray, SingleArray, SingleArray, SingleArray],
    distance: SingleArray,
    slope: SingleArray,
    eye: SingleArray,
) -> None:
    """Paint the cylinders, far ones first, over what lies behind them."""
    origin_x, origin_z, direction_x, direction_z = ground
    nearest = np.broadcast_to(distance, slope.shape).copy()
    for (x, z, radius, tall), bands in zip(world.pillars, world.pillar_colours, strict=True):
        to_x, to_z = x - origin_x, z - origin_z
        along = to_x * direction_x + to_z * direction_z
        offset = to_x * direction_z - to_z * direction_x
        inside = radius * radius - offset * offset
        reach = along - np.sqrt(np.maximum(inside, 0))
        seen = (inside > 0) & (reach > 0.05)
        if not seen.any():
            continue
        hit = np.flatnonzero(seen & (reach < nearest) & (eye + slope * reach > 1 - tall))
        far = _at(reach, slope.shape, hit)
        up = EYE_HEIGHT_METRES - (_at(eye, slope.shape, hit) + slope.ravel()[hit] * far)
        visible = up >= 0
        hit, far, up = hit[visible], far[visible], up[visible]
        edge = np.abs(_at(offset, slope.shape, hit)) / radius
        shade = (_light(far) * (1 - 0.5 * edge * edge)).astype(np.float32)
        colour.reshape(-1, 3)[hit] = bands[(up / 0.4).astype(np.int64) % 2] * shade[:, None]
        nearest.ravel()[hit] = far


def _at(array: SingleArray, shape: tuple[int, ...], index: IntArray) -> SingleArray:
    """Take flat positions of an array as if it were broadcast to `shape`, without copying it."""
    return np.asarray(np.broadcast_to(array, shape)[np.unravel_index(index, shape)], np.float32)
