"""The picture of who reads whom, `docs/attention_mask.svg`, drawn from measured masks.

`python -m cli.mask_picture` measures and writes it. Colours follow the reader's light or dark
scheme; what is told by colour is told by a mark in the cell, too. It does not know how masks are
measured, and draws nothing that was not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import typer

from cli.mask_measurement import NUM_CLEAN, NUM_LATENTS, NUM_MEMORY, SEGMENT, Reads, measure_masks

PICTURE = Path(__file__).parents[1] / "docs" / "attention_mask.svg"


@dataclass(frozen=True)
class Panel:
    """What is written around one mask.

    Attributes:
        title: the arrangement.
        meaning: what the mask means, in a sentence or two.
        replay: whether a session that lost its caches goes on the same.
    """

    title: str
    meaning: str
    replay: str


PANELS: Mapping[str, Panel] = {
    "reference": Panel(
        "reference layout",
        "Every latent reads every other, noise included. No keys and values are kept: each step "
        "reads it all.",
        "Replay: exact",
    ),
    "latent": Panel(
        "stream, reach latent",
        "A committed latent reads itself alone. Its keys and values can be dropped and made "
        "again, one by one.",
        "Replay: exact",
    ),
    "segment": Panel(
        "stream, reach segment",
        "A committed segment reads itself alone. Its keys and values can be dropped and made "
        "again, three by three.",
        "Replay: exact",
    ),
    "window": Panel(
        "stream, reach window",
        "A committed segment reads all that it saw, and what that had seen. What is dropped is not "
        "made again as it was.",
        "Replay: not exact",
    ),
}
LEGEND = (
    ("own", "clean, reads its own segment"),
    ("other", "clean, reads another segment"),
    ("noise", "clean, reads noise"),
    ("new", "noisy, reads"),
    ("none", "does not read"),
)
# Strokes from a cell's corner: a dash, and a cross.
_MARKS = {"other": "m4 7.5h7", "noise": "m4.5 4.5l6 6m0-6l-6 6"}

_WIDTH, _HEIGHT = 920, 424
_LEFT, _TOP, _PITCH = 98, 90, 206
_CELL, _STEP, _GAP = 15, 16, 5
_LINE, _MOST_LETTERS = 17, 27
_STYLE = """\
  :root { color-scheme: light dark; }
  .ground { fill: #ffffff; }
  .cell { fill: currentColor; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
  .none { color: #eef1f4; } .own { color: #1a8f6a; } .other { color: #e0a100; }
  .noise { color: #cf5a17; } .new { color: #2f74b5; }
  .mark { stroke: #ffffff; stroke-width: 1.6; fill: none; stroke-linecap: round; }
  .name { fill: #1f2328; font: 600 14px system-ui, sans-serif; }
  .word { fill: #57606a; font: 12.5px system-ui, sans-serif; }
  .replay { fill: #1f2328; font: 600 12.5px system-ui, sans-serif; }
  .index { fill: #6e7781; font: 10px system-ui, sans-serif; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } .none { color: #1d232b; } .own { color: #2ea37c; }
    .other { color: #d9a514; } .noise { color: #e0692a; } .new { color: #4a90d9; }
    .mark { stroke: #0d1117; } .name, .replay { fill: #e6edf3; }
    .word { fill: #9aa4ae; } .index { fill: #8b949e; }
  }"""
_ABOUT = (
    "Four square masks of ten latents: four of memory (the sink first), three of the past, three "
    "new and noisy. In the reference layout every latent reads every other. In the stream layout "
    "the new ones read everything, and committed ones read only themselves (reach latent), only "
    "their segment (reach segment), or their segment and all before it (reach window); none of "
    "them reads a noisy one."
)


def kind_of(reads: Reads, row: int, column: int) -> str:
    """Return what a cell shows, by the names of `LEGEND`."""
    if not reads[row, column]:
        return "none"
    if row >= NUM_CLEAN:
        return "new"
    if column >= NUM_CLEAN:
        return "noise"
    return "own" if _segment(row) == _segment(column) else "other"


def picture(masks: Mapping[str, Reads]) -> str:
    """Return the SVG of masks by the names of `PANELS`."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-labelledby="title about">',
        '<title id="title">Who reads whom while a segment is made</title>',
        f'<desc id="about">{_ABOUT}</desc>',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>',
        *_row_labels(),
    ]
    for number, (name, panel) in enumerate(PANELS.items()):
        lines += _panel(_LEFT + number * _PITCH, panel, masks[name])
    return "\n".join([*lines, *_legend(), "</svg>\n"])


def main() -> None:
    """Measure and write the picture."""
    masks = {name: mask.reads for name, mask in measure_masks().items()}
    PICTURE.write_text(picture(masks), encoding="utf-8")
    typer.echo(str(PICTURE))


def _segment(latent: int) -> int:
    """Return a latent's segment; the start image is one by itself."""
    return (latent + SEGMENT - 1) // SEGMENT


def _at(latent: int) -> int:
    """Return where a latent's cells begin; segments stand apart."""
    return latent * _STEP + _segment(latent) * _GAP


def _groups() -> Iterator[tuple[str, float]]:
    """Yield each group's name and the middle of its cells."""
    starts = (0, NUM_MEMORY, NUM_CLEAN, NUM_LATENTS)
    for name, first, end in zip(("memory", "past", "new"), starts, starts[1:], strict=False):
        yield name, (_at(first) + _at(end - 1) + _CELL) / 2


def _row_labels() -> Iterator[str]:
    for name, middle in _groups():
        yield _text(_LEFT - 36, _TOP + middle + 4, name, "word", "end")
    for latent in range(NUM_LATENTS):
        label = "sink 0" if latent == 0 else str(latent)
        yield _text(_LEFT - 6, _TOP + _at(latent) + 11, label, "index", "end")


def _panel(left: int, panel: Panel, reads: Reads) -> Iterator[str]:
    yield _text(left, 34, panel.title, "name")
    for name, middle in _groups():
        yield _text(left + middle, _TOP - 26, name, "word", "middle")
    for latent in range(NUM_LATENTS):
        middle = left + _at(latent) + _CELL / 2
        yield _text(middle, _TOP - 8, str(latent), "index", "middle")
    places: dict[str, list[tuple[int, int]]] = {kind: [] for kind, _ in LEGEND}
    for row, column in product(range(NUM_LATENTS), repeat=2):
        place = left + _at(column), _TOP + _at(row)
        places[kind_of(reads, row, column)].append(place)
    for kind, cells in places.items():
        yield from _cells(kind, cells)
    below = _TOP + _at(NUM_LATENTS - 1) + _CELL + 26
    yield _text(left, below, panel.replay, "replay")
    for number, line in enumerate(textwrap.wrap(panel.meaning, _MOST_LETTERS), start=1):
        yield _text(left, below + number * _LINE + 3, line, "word")


def _legend() -> Iterator[str]:
    left, top = _LEFT, _HEIGHT - 26
    yield _text(left - 6, top + 11, "row reads column", "index", "end")
    for kind, meaning in LEGEND:
        yield from _cells(kind, [(left, top)])
        yield _text(left + _CELL + 6, top + 12, meaning, "word")
        left += _CELL + 24 + round(6.3 * len(meaning))


def _cells(kind: str, places: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Draw all cells of one kind as one path, and their marks as another."""
    if not places:
        return
    edge = _CELL - 2  # a stroke of 2 rounds the corners
    squares = "".join(f"M{x + 1} {y + 1}h{edge}v{edge}h-{edge}z" for x, y in places)
    yield f'<path class="cell {kind}" d="{squares}"/>'
    if kind in _MARKS:
        marks = "".join(f"M{x} {y}{_MARKS[kind]}" for x, y in places)
        yield f'<path class="mark" d="{marks}"/>'


def _text(
    left: int | float, top: int | float, words: str, style: str, anchor: str = "start"
) -> str:
    placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{style}" x="{left:g}" y="{top:g}"{placed}>{words}</text>'


if __name__ == "__main__":
    main()
