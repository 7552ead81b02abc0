"""Where sessions of starter weights begin: first views of held-out worlds, kept as pictures.

    places/places.json    names and prompts, the first one being where nobody chose
    places/<name>.png     what is seen there

Freedoom's engine takes seconds to start and is no part of a server, so the views are recorded once
and kept beside the weights. It knows no weights and no release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field

from worldloom.arrays import ByteArray
from worldloom.camera import yaw_pitch
from worldloom.config import Config, load_config
from worldloom.data.captions import captioned
from worldloom.data.schema import Clip
from worldloom.errors import ArtifactError
from worldloom.rollout.config import WorldEntry
from worldloom.train.checkpoint import write_atomically

PLACES_FOLDER = "places"
LIST_FILE = "places.json"
_FRAMES = 5
# Seeds of held-out worlds whose first view was found to show a place.
_FREEDOOM: Mapping[str, tuple[str, int]] = {
    "freedoom-hall": ("MAP03", 41),
    "freedoom-pool": ("MAP08", 42),
    "freedoom-yard": ("MAP12", 46),
}
_PROCEDURAL: Mapping[str, int] = {"maze-pillar": 45, "maze-hall": 58, "maze-alley": 44}


class PlacesConfig(Config):
    """The list beside the pictures."""

    places: tuple[WorldEntry, ...] = Field(min_length=1, description="where sessions can begin")


def record_places(size: tuple[int, int]) -> dict[WorldEntry, ByteArray]:
    """Return the places and their views uint8 [H, W, 3] at a size (height, width)."""
    from worldloom.data.sources.procedural import ProceduralConfig
    from worldloom.data.sources.procedural import capture_clip as capture_procedural
    from worldloom.data.sources.vizdoom import DoomEngine, VizdoomConfig
    from worldloom.data.sources.vizdoom import capture_clip as capture_freedoom

    clips: dict[str, Clip] = {}
    doom = VizdoomConfig(height=size[0], width=size[1])
    with DoomEngine(doom) as engine:
        for name, (map_name, seed) in _FREEDOOM.items():
            clips[name] = capture_freedoom(
                doom,
                map_name=map_name,
                seed=seed,
                split="test",
                num_frames=_FRAMES,
                trajectory="spin",
                engine=engine,
            )
    maze = ProceduralConfig(height=size[0], width=size[1])
    for name, seed in _PROCEDURAL.items():
        clips[name] = capture_procedural(maze, seed=seed, split="test", num_frames=_FRAMES)
    return {_entry(name, clip): clip.frames[0] for name, clip in clips.items()}


def write_places(folder: Path, places: Mapping[WorldEntry, ByteArray]) -> None:
    """Write places under a folder of starter weights."""
    below = folder / PLACES_FOLDER
    below.mkdir(parents=True, exist_ok=True)
    for entry, view in places.items():
        encoded, data = cv2.imencode(".png", np.ascontiguousarray(view[..., ::-1]))
        assert encoded, "a picture in memory always encodes"
        write_atomically(below / f"{entry.name}.png", data.tobytes())
    listed = PlacesConfig(places=tuple(places))
    write_atomically(below / LIST_FILE, (listed.model_dump_json(indent=1) + "\n").encode())


def read_places(folder: Path) -> dict[WorldEntry, ByteArray]:
    """Return the places under a folder of starter weights.

    Raises:
        ArtifactError: when the list or a picture is not there.
    """
    path = folder / PLACES_FOLDER / LIST_FILE
    if not path.is_file():
        message = f"{path}: missing, expected the places where sessions of the starter begin"
        raise ArtifactError(message)
    listed = load_config(PlacesConfig, path.read_text(), where=LIST_FILE)
    return {entry: _read_view(path.with_name(f"{entry.name}.png")) for entry in listed.places}


def _read_view(path: Path) -> ByteArray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        message = f"{path}: no picture that can be read, expected the view of a place"
        raise ArtifactError(message)
    return np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8)


def _entry(name: str, clip: Clip) -> WorldEntry:
    _, pitch = yaw_pitch(clip.poses_c2w[0].astype(np.float64))
    prompt = captioned(replace(clip, trajectory="free")).prompt
    return WorldEntry(name=name, prompt=prompt, pitch_radians=float(pitch))
