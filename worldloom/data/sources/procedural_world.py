"""What is in a procedural world, and where: walls, textures, tiles and pillars, from a seed.

The grid is 16 x 16 cells of 2 m; walls are 2 m high, the eye 1 m above the floor. Each face of each
wall has a texture of its own, so what a place looks like cannot be guessed, only remembered. It
does not know how a world is drawn or walked.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worldloom.arrays import BoolArray, FloatArray, SingleArray

GRID_CELLS = 16
CELL_METRES = 2.0
EYE_HEIGHT_METRES = 1.0
WALL_HEIGHT_METRES = 2.0
WORLD_METRES = GRID_CELLS * CELL_METRES
TEXTURE_SIZE = 8
FLOOR_TILE_METRES = 2.0
FACES = 4
MIN_FREE_CELLS = 50


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
    walls: BoolArray
    wall_textures: SingleArray
    wall_means: SingleArray
    floor: SingleArray
    ceiling: SingleArray
    pillars: SingleArray
    pillar_colours: SingleArray
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


def _layout(generator: np.random.Generator) -> BoolArray:
    """Return walls whose free cells hang together: a border and straight runs of wall."""
    while True:
        walls = np.zeros((GRID_CELLS, GRID_CELLS), bool)
        walls[[0, -1]], walls[:, [0, -1]] = True, True
        for _ in range(int(generator.integers(60, 80))):
            x, z = (generator.integers(1, GRID_CELLS - 1) for _ in range(2))
            length = int(generator.integers(1, 6))
            if generator.random() < 0.5:
                walls[x : x + length, z] = True
            else:
                walls[x, z : z + length] = True
        free = _largest_room(~walls)
        if free.sum() >= MIN_FREE_CELLS:
            return ~free


def _largest_room(free: BoolArray) -> BoolArray:
    """Return the largest connected part of the free cells, the first of those as large."""
    _, rooms, figures, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    sizes = figures[:, cv2.CC_STAT_AREA]
    sizes[0] = 0  # what is not free
    largest: BoolArray = (rooms == sizes.argmax()) & free
    return largest


def _textures(generator: np.random.Generator, count: int) -> SingleArray:
    """Return two-colour textures: noise in blocks of 1, 2 or 4 texels, two shades of near hues."""
    hue = generator.random(count)
    other = np.asarray((hue + generator.uniform(-0.12, 0.12, count)) % 1, np.float64)
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
) -> SingleArray:
    tiles = int(WORLD_METRES / FLOOR_TILE_METRES)
    value = generator.choice(np.array(values), (tiles, tiles))
    hues = np.mod(hue + generator.uniform(-0.04, 0.04, (tiles, tiles)), 1.0).astype(np.float64)
    return _hsv(hues, saturation, value)


def _pillars(generator: np.random.Generator, walls: BoolArray) -> tuple[SingleArray, FloatArray]:
    count = int(generator.integers(3, 7))
    cells = np.argwhere(~walls)
    chosen = cells[generator.choice(len(cells), count, replace=False)]
    centres = (chosen + 0.5 + generator.uniform(-0.2, 0.2, (count, 2))) * CELL_METRES
    radius = generator.uniform(0.25, 0.4, count)
    tall = generator.uniform(1.05, 1.8, count)
    pillars = np.column_stack([centres, radius, tall]).astype(np.float32)
    return pillars, generator.random(count)


def _hsv(hue: FloatArray, saturation: float | FloatArray, value: float | FloatArray) -> SingleArray:
    """Return RGB in 0..255 of hue, saturation and value in 0..1."""
    offset = np.array([5.0, 3.0, 1.0])
    k = (offset + hue[..., None] * 6) % 6
    ramp = np.clip(np.minimum(k, 4 - k), 0, 1)
    value = np.broadcast_to(np.asarray(value), hue.shape)[..., None]
    saturation = np.broadcast_to(np.asarray(saturation), hue.shape)[..., None]
    return np.asarray(255 * (value - value * saturation * ramp), np.float32)
