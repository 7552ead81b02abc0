"""Places of starter weights: views that are kept as they were recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worldloom.errors import ArtifactError, ConfigError
from worldloom.legs.places import read_places, record_places, write_places
from worldloom.rollout.config import WorldEntry

VIEWS = {
    WorldEntry(name=name, prompt=f"a {name}", pitch_radians=0.25): np.random.default_rng(seed)
    .integers(0, 255, (16, 24, 3))
    .astype(np.uint8)
    for seed, name in enumerate(("pool", "alley"))
}


def test_places_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_places(tmp_path, VIEWS)
    read = read_places(tmp_path)
    assert list(read) == list(VIEWS)
    for entry, view in VIEWS.items():
        assert np.array_equal(read[entry], view)


def test_a_starter_without_places_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"places\.json: missing, expected the places"):
        read_places(tmp_path)


def test_a_lost_or_damaged_picture_is_named(tmp_path: Path) -> None:
    write_places(tmp_path, VIEWS)
    (tmp_path / "places" / "pool.png").write_bytes(b"no picture")
    with pytest.raises(ArtifactError, match=r"pool\.png: no picture that can be read"):
        read_places(tmp_path)


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    write_places(tmp_path, VIEWS)
    (tmp_path / "places" / "places.json").write_text('{"places": []}')
    with pytest.raises(ConfigError, match=r"places\.json"):
        read_places(tmp_path)


@pytest.mark.slow
def test_recorded_places_are_views_of_held_out_worlds_at_the_asked_size() -> None:
    pytest.importorskip("vizdoom")
    places = record_places((24, 40))
    assert {entry.name.partition("-")[0] for entry in places} == {"freedoom", "maze"}
    assert next(iter(places)).name.startswith("freedoom")
    for entry, view in places.items():
        assert view.shape == (24, 40, 3)
        assert view.std() > 5, entry.name
        assert "mostly" in entry.prompt  # in the words of a caption, as training was told
