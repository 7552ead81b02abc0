"""A release of the starter weights: made once, verified, and it walks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.starter_release import starter_release
from worldloom.actions import Actions
from worldloom.artifacts import verify_folder
from worldloom.rollout.release import load_release


def test_it_is_made_once_and_walks(tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    digest = starter_release(folder)
    written = (folder / "manifest.json").stat().st_mtime_ns
    assert starter_release(folder) == digest
    assert (folder / "manifest.json").stat().st_mtime_ns == written
    assert verify_folder(folder, digest).digest == digest
    assert [path.name for path in tmp_path.iterdir()] == ["starter"]
    release = load_release(folder)
    assert [world.name for world in release.worlds] == ["courtyard", "corridor", "hall"]
    world = release.worlds[0]
    session = release.open_session(image=world.image, prompt=world.prompt, seed=0)
    frames = session.generate_segment(Actions.still(release.frames_per_segment))
    assert frames.shape == (12, 64, 64, 3)
    # The starter's student knows its place: standing still, it goes on seeing it.
    assert np.abs(frames[0].astype(int) - world.image).mean() < 30
