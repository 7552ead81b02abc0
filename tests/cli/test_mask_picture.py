from __future__ import annotations

import re
from collections import Counter
from itertools import product
from xml.etree import ElementTree

import numpy as np
import pytest

from cli import mask_picture
from cli.mask_measurement import NUM_CLEAN, NUM_LATENTS, measure_masks

MASKS = {name: mask.reads for name, mask in measure_masks().items()}
SVG = "{http://www.w3.org/2000/svg}"


def drawn_cells(text: str) -> Counter[str]:
    """Squares by kind, those of the legend among them."""
    found: Counter[str] = Counter()
    for path in ElementTree.fromstring(text).iter(f"{SVG}path"):
        kinds = path.attrib["class"].split()
        if kinds[0] == "cell":
            found[kinds[1]] += path.attrib["d"].count("z")
    return found


def test_the_picture_is_what_the_network_does() -> None:
    found = mask_picture.PICTURE.read_text(encoding="utf-8")
    assert found == mask_picture.picture(MASKS), "run: python -m cli.mask_picture"


def test_every_cell_of_every_mask_is_drawn_as_what_it_is() -> None:
    expected = Counter(kind for kind, _ in mask_picture.LEGEND)
    for reads in MASKS.values():
        for row, column in product(range(NUM_LATENTS), repeat=2):
            expected[mask_picture.kind_of(reads, row, column)] += 1
    assert drawn_cells(mask_picture.picture(MASKS)) == expected


def test_another_mask_gives_another_picture() -> None:
    changed = {**MASKS, "latent": MASKS["segment"]}
    assert mask_picture.picture(changed) != mask_picture.picture(MASKS)


@pytest.mark.parametrize(
    ("row", "column", "kind"),
    [
        (2, 3, "own"),
        (0, 1, "other"),
        (4, 3, "other"),
        (1, NUM_CLEAN, "noise"),
        (NUM_CLEAN, 0, "new"),
    ],
)
def test_a_cell_is_named_for_who_reads_whom(row: int, column: int, kind: str) -> None:
    reads = np.zeros((NUM_LATENTS, NUM_LATENTS), bool)
    assert mask_picture.kind_of(reads, row, column) == "none"
    reads[row, column] = True
    assert mask_picture.kind_of(reads, row, column) == kind


def test_replay_is_said_to_be_exact_where_committed_latents_hang_on_their_segment_alone() -> None:
    for name in ("latent", "segment", "window"):
        cells = product(range(NUM_CLEAN), range(NUM_LATENTS))
        kinds = {mask_picture.kind_of(MASKS[name], row, column) for row, column in cells}
        said = mask_picture.PANELS[name].replay
        assert said == ("Replay: exact" if kinds == {"own", "none"} else "Replay: not exact")


def test_the_picture_speaks_to_those_who_do_not_see_it_and_in_the_dark() -> None:
    text = mask_picture.picture(MASKS)
    assert text.isascii()
    root = ElementTree.fromstring(text)
    told = {root.find(f"{SVG}{tag}").attrib["id"] for tag in ("title", "desc")}
    assert set(root.attrib["aria-labelledby"].split()) == told
    dark = text.partition("prefers-color-scheme: dark")[2].partition("</style>")[0]
    for kind, _ in mask_picture.LEGEND:
        assert re.search(rf"\.{kind} \{{ color:", dark), kind
