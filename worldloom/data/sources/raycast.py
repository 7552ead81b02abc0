"""A grid world of textured walls, tiles and pillars, and its exact pinhole renderer in numpy.

The grid is 16 x 16 cells of 2 m; walls are 2 m high, the eye 1 m above the floor. Everything is
geometry (pillars are cylinders, not billboards), so a frame can be rendered at any pose. Each face
of each wall has a texture of its own: what a place looks like cannot be guessed, only remembered.
It does not know actions or clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worldloom.camera import Intrinsics

GRID_CELLS = 16
CELL_METRES = 2.0
EYE_HEIGHT_METRES = 1.0
WALL_HEIGHT_METRES = 2.0
WORLD_METRES = GRID_CELLS * CELL_METRES
TEXTURE_SIZE = 8
FLOOR_TILE_METRES = 2.0
FACES = 4
MIN_FREE_CELLS = 50
BATCH_FRAMES = 8

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Everything that is in one procedural world.

    Attributes:
        seed: What it was made from.
        walls: bool [16, 16], indexed [x, z].
        wall_textures: float32 [16 * 16 * 4, 8, 8, 3] in 0..255: a face's texels, [row, column].
        wall_means: float32 [16 * 16 * 4, 3], what a far face fades to.
        floor: float32 [32, 32, 3], one colour for each square metre.
        ceiling: float32 [32, 32, 3].
        pillars: float32 [P, 4]: x, z, radius, height in metres.
        pillar_colours: float32 [P, 2, 3]: two bands.
        pillar_names, floor_name, ceiling_name: the names of their hues.
    """

    seed: int
    walls: NDArray[np.bool_]
    wall_textures: Floats
    wall_means: Floats
    floor: Floats
    ceiling: Floats
    pillars: Floats
    pillar_colours: Floats
    pillar_names: tuple[str, ...]
    floor_name: str
    ceiling_name: str

    def is_free(self, x: float, z: float, radius: float) -> bool:
        """Tell whether a disc of `radius` metres at (x, z) touches no wall and no pillar."""
        low_x, high_x = (
            int((x - radius) // CELL_METRES),
            int((x + radius) // CELL_METRES),
        )
        low_z, high_z = (
            int((z - radius) // CELL_METRES),
            int((z + radius) // CELL_METRES),
        )
        if low_x < 0 or low_z < 0 or high_x >= GRID_CELLS or high_z >= GRID_CELLS:
            return False
        if self.walls[low_x : high_x + 1, low_z : high_z + 1].any():
            return False
        gap = np.hypot(self.pillars[:, 0] - x, self.pillars[:, 1] - z) - self.pillars[:, 2]
        return bool((gap > radius).all())


def world_from_seed(seed: int) -> World:
    """Build the world of a seed; the same seed gives the same world."""
    generator = np.random.default_rng([0x776F726C, seed])
    walls = _layout(generator)
    textures = _textures(generator, GRID_CELLS * GRID_CELLS * FACES)
    floor_hue, ceiling_hue = generator.random(2)
    pillars, pillar_hues = _pillars(generator, walls)
    bands = np.stack(
        [_hsv(pillar_hues, 0.9, 0.95), _hsv((pillar_hues + 0.5) % 1, 0.5, 0.35)], axis=1
    )
    return World(
        seed=seed,
        walls=walls,
        wall_textures=textures,
        wall_means=np.ascontiguousarray(textures.mean(axis=(1, 2))),
        floor=_tiles(generator, float(floor_hue), 0.4, (0.34, 0.46)),
        ceiling=_tiles(generator, float(ceiling_hue), 0.25, (0.68, 0.8)),
        pillars=pillars,
        pillar_colours=bands,
        pillar_names=tuple(hue_name(float(hue)) for hue in pillar_hues),
        floor_name=hue_name(float(floor_hue)),
        ceiling_name=hue_name(float(ceiling_hue)),
    )


def hue_name(hue: float) -> str:
    """Return the name of a hue in [0, 1)."""
    names = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
    edges = (0.035, 0.11, 0.19, 0.42, 0.54, 0.7, 0.82, 0.95)
    return next((name for name, edge in zip(names, edges, strict=True) if hue < edge), "red")


def render_poses(
    world: World,
    poses_c2w: FloatArray,
    intrinsics: Intrinsics,
    height: int,
    width: int,
    *,
    supersample: int = 1,
) -> Bytes:
    """Render poses [F, 4, 4] to frames [F, height, width, 3].

    With `supersample` = n every pixel is the mean of n x n rays.
    """
    frames = np.empty((len(poses_c2w), height, width, 3), np.uint8)
    n = supersample
    fine = Intrinsics(
        fx=intrinsics.fx * n,
        fy=intrinsics.fy * n,
        cx=intrinsics.cx * n,
        cy=intrinsics.cy * n,
    )
    for start in range(0, len(poses_c2w), BATCH_FRAMES):
        batch = poses_c2w[start : start + BATCH_FRAMES].astype(np.float32)
        colour = _render_batch(world, batch, fine, height * n, width * n)
        if n > 1:
            rows = sum(colour[:, i::n] for i in range(n))
            colour = sum(rows[:, :, i::n] for i in range(n)) / np.float32(n * n)
        frames[start : start + BATCH_FRAMES] = np.clip(colour, 0, 255)
    return frames


def _render_batch(
    world: World, poses: Floats, intrinsics: Intrinsics, height: int, width: int
) -> Floats:
    """Render a few poses at once.

    Rays are [F, rows, W, 2] in the plane, rows = 1 where no pose has pitch (all the pixels of a
    column then share their direction) and H otherwise; slopes are metres down per metre along.
    """
    x = ((np.arange(width) + 0.5 - intrinsics.cx) / intrinsics.fx).astype(np.float32)
    y = ((np.arange(height) + 0.5 - intrinsics.cy) / intrinsics.fy).astype(np.float32)
    rotation = poses[:, None, None, :3, :3]
    level = bool((np.abs(poses[:, 1, 2]) < 1e-9).all())
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
    world: World, x: Floats, z: Floats, dx: Floats, dz: Floats
) -> tuple[Floats, NDArray[np.int64], Floats]:
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


def _fade(distance: Floats) -> Floats:
    """Return how much of a texture's contrast is left: texels below a pixel would only flicker."""
    return np.asarray(1 / (1 + np.square(distance / 9)), np.float32)


def _light(distance: Floats) -> Floats:
    return np.asarray(1 / (1 + distance / 30), np.float32)


def _shade_walls(
    world: World,
    distance: Floats,
    face: NDArray[np.int64],
    across: Floats,
    slope: Floats,
    eye: Floats,
) -> Floats:
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
    return colour


def _paint_ground(
    world: World,
    colour: Floats,
    ground: tuple[Floats, Floats, Floats, Floats],
    distance: Floats,
    slope: Floats,
    eye: Floats,
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
    colour: Floats,
    ground: tuple[Floats, Floats, Floats, Floats],
    distance: Floats,
    slope: Floats,
    eye: Floats,
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


def _at(array: Floats, shape: tuple[int, ...], index: NDArray[np.int64]) -> Floats:
    """Take flat positions of an array as if it were broadcast to `shape`, without copying it."""
    return np.asarray(np.broadcast_to(array, shape)[np.unravel_index(index, shape)], np.float32)


def _layout(generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return walls whose free cells hang together: a border and straight runs of wall."""
    while True:
        walls = np.zeros((GRID_CELLS, GRID_CELLS), bool)
        walls[[0, -1]], walls[:, [0, -1]] = True, True
        for _ in range(int(generator.integers(60, 80))):
            x, z = generator.integers(1, GRID_CELLS - 1, 2)
            length = int(generator.integers(1, 6))
            if generator.random() < 0.5:
                walls[x : x + length, z] = True
            else:
                walls[x, z : z + length] = True
        free = _largest_room(~walls)
        if free.sum() >= MIN_FREE_CELLS:
            return ~free


def _largest_room(free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of the free cells."""
    best = np.zeros_like(free)
    left = free.copy()
    while left.any():
        room = np.zeros_like(free)
        room[np.unravel_index(int(np.argmax(left)), free.shape)] = True
        while True:
            grown = room.copy()
            grown[1:] |= room[:-1]
            grown[:-1] |= room[1:]
            grown[:, 1:] |= room[:, :-1]
            grown[:, :-1] |= room[:, 1:]
            grown &= free
            if (grown == room).all():
                break
            room = grown
        best = room if room.sum() > best.sum() else best
        left &= ~room
    return best


def _textures(generator: np.random.Generator, count: int) -> Floats:
    """Return two-colour textures: noise in blocks of 1, 2 or 4 texels, two shades of near hues."""
    hue = generator.random(count)
    other = (hue + generator.uniform(-0.12, 0.12, count)) % 1
    value = generator.uniform(0.5, 1.0, count)
    light = _hsv(hue, generator.uniform(0.3, 0.9, count), value)
    dark = _hsv(
        other, generator.uniform(0.3, 0.9, count), value * generator.uniform(0.4, 0.7, count)
    )
    pattern = generator.random((count, TEXTURE_SIZE, TEXTURE_SIZE)) < 0.5
    for block, members in ((2, slice(0, None, 4)), (4, slice(1, None, 4)), (4, slice(2, None, 4))):
        coarse = pattern[members, ::block, ::block]
        coarse[:, 0, 0] = ~coarse[:, -1, -1]
        pattern[members] = coarse.repeat(block, axis=1).repeat(block, axis=2)
    choice = pattern[..., None]
    return np.where(choice, light[:, None, None], dark[:, None, None]).astype(np.float32)


def _tiles(
    generator: np.random.Generator,
    hue: float,
    saturation: float,
    values: tuple[float, float],
) -> Floats:
    tiles = int(WORLD_METRES / FLOOR_TILE_METRES)
    value = generator.choice(np.array(values), (tiles, tiles))
    hues = (hue + generator.uniform(-0.04, 0.04, (tiles, tiles))) % 1
    return _hsv(hues, saturation, value)


def _pillars(generator: np.random.Generator, walls: NDArray[np.bool_]) -> tuple[Floats, FloatArray]:
    count = int(generator.integers(3, 7))
    cells = np.argwhere(~walls)
    chosen = cells[generator.choice(len(cells), count, replace=False)]
    centres = (chosen + 0.5 + generator.uniform(-0.2, 0.2, (count, 2))) * CELL_METRES
    radius = generator.uniform(0.25, 0.4, count)
    tall = generator.uniform(1.05, 1.8, count)
    pillars = np.column_stack([centres, radius, tall]).astype(np.float32)
    return pillars, generator.random(count)


def _hsv(hue: FloatArray, saturation: float | FloatArray, value: float | FloatArray) -> Floats:
    """Return RGB in 0..255 of hue, saturation and value in 0..1."""
    offset = np.array([5.0, 3.0, 1.0])
    k = (offset + hue[..., None] * 6) % 6
    ramp = np.clip(np.minimum(k, 4 - k), 0, 1)
    value = np.broadcast_to(np.asarray(value), hue.shape)[..., None]
    saturation = np.broadcast_to(np.asarray(saturation), hue.shape)[..., None]
    return np.asarray(255 * (value - value * saturation * ramp), np.float32)
