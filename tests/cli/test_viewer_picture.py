"""The picture of the viewer: three visits beside one another."""

from __future__ import annotations

import numpy as np
import pytest

from cli.viewer_picture import PANELS, composed, main


def test_pictures_of_any_size_stand_beside_each_other_equally_high() -> None:
    shots = [np.full((panel.height, panel.width, 3), 9, np.uint8) for panel in PANELS]
    picture = composed(shots)
    assert picture.shape == (456, 720 + 14 + 720 + 14 + 234, 3)
    assert set(np.unique(picture[:, :720])) == {9}
    assert set(np.unique(picture[:, 720:734])) == {255}
    assert set(np.unique(picture[:, -234:])) == {9}


def test_a_place_for_each_picture_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"places \['hall'\]: expected 3"):
        main(["http://127.0.0.1:1/", "hall"])
