"""The model card's tables, filled from what is there: the weights, their record, what was measured.

`python -m cli.starter_card [FOLDER]` writes the tables that the folder's `MODEL_CARD.md` has
markers for, by default the carried one's: parameters and bytes from the files themselves, how they
were made from `training.json`, figures from what experiments left in `docs/results`. It measures
nothing, and a figure of other weights, or whose file is not there, is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from cli.figures import ROOT, between
from worldloom.config import JsonValue
from worldloom.experiments.cells import part_digests
from worldloom.legs.carried import CARD_FILE, CARRIED, RECORD_FILE

RESULTS = ROOT / "docs" / "results"
ABLATION_FILE = "ablation.json"
_PARTS = {
    "vae": "causal video VAE, 4 x 8 x 8 pixels to a latent",
    "base": "many-step base model (flow matching)",
    "student": "3-step student (distribution matching distillation)",
    "decoder-50": "decoder without half of its channels",
    "decoder-75": "decoder without three quarters of its channels",
}
_WORLDS = ("procedural", "vizdoom")

Row = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Claim:
    """A row of the card's figures.

    Attributes:
        label: what it is.
        experiment: whose results hold it.
        arm: which arm's value.
        figure: which figure.
        is_difference: the difference to the experiment's control, not the value itself.
        path: the walks on which it was measured.
    """

    label: str
    experiment: str
    arm: str
    figure: str
    is_difference: bool = False
    path: str = "return"


CLAIMS = (
    Claim("student: PSNR", "student", "shipped", "psnr_db"),
    Claim("student: revisit PSNR", "student", "shipped", "revisit_psnr_db"),
    Claim("teacher: revisit PSNR", "student", "teacher", "revisit_psnr_db"),
    Claim("student: sharpness against the recording", "student", "shipped", "sharpness_ratio"),
    Claim("teacher: sharpness against the recording", "student", "teacher", "sharpness_ratio"),
    Claim(
        "student: Frechet distance, novel regions",
        "student",
        "shipped",
        "frechet_novel",
        path="forward",
    ),
    Claim(
        "teacher: Frechet distance, novel regions",
        "student",
        "teacher",
        "frechet_novel",
        path="forward",
    ),
    Claim("student: yaw error", "student", "shipped", "turn_error_degrees_per_frame"),
    Claim(
        "student: keys read back, of the recording's",
        "student",
        "shipped",
        "key_accuracy_ratio",
    ),
    Claim(
        "memory: revisit PSNR over none", "memory", "ours", "revisit_psnr_db", is_difference=True
    ),
    Claim(
        "INT8, all large linears: PSNR", "quantization", "int8-all", "psnr_db", is_difference=True
    ),
    Claim("FP8, all large linears: PSNR", "quantization", "fp8-all", "psnr_db", is_difference=True),
    Claim(
        "decoder, 50 % of its channels cut: PSNR", "decoder", "half", "psnr_db", is_difference=True
    ),
    Claim("decoder, 75 % cut: PSNR", "decoder", "quarter", "psnr_db", is_difference=True),
)


def files_table(folder: Path) -> str:
    """Return the weights of a folder: what, how many parameters, how many bytes."""
    rows, total = [], 0
    for part, what in _PARTS.items():
        for path in sorted((folder / part).glob("*.safetensors")):
            size = path.stat().st_size
            total += size
            millions = f"{num_parameters(path) / 1e6:.2f} M"
            rows.append((f"`{part}/{path.name}`", what, millions, f"{size:,}"))
    rows.append(("all", "", "", f"{total:,}"))
    return _table(("file", "what", "parameters", "bytes"), rows)


def training_table(record: Row) -> str:
    """Return how each leg went."""
    legs = record["legs"]
    assert isinstance(legs, list)
    rows = []
    for leg in legs:
        assert isinstance(leg, dict)
        clips = _mapping(leg["clips"])
        told = ", ".join(f"{count} {source}" for source, count in sorted(clips.items()))
        rows.append(
            (
                str(leg["name"]),
                str(leg["device"]),
                f"{leg['minutes']:g}",
                str(leg["seed"]),
                told,
                f"{leg['num_steps']:,} x {leg['batch']}",
                _change(_mapping(leg["before"]), _mapping(leg["after"])),
            )
        )
    minutes = sum(float(str(_mapping(leg)["minutes"])) for leg in legs)
    rows.append(("all", "", f"{minutes:g}", "", "", "", ""))
    header = ("leg", "device", "minutes", "seed", "clips", "steps x batch", "held out")
    return _table(header, rows)


def figures_table(results: Path, parts: Mapping[str, str], claims: Iterable[Claim] = CLAIMS) -> str:
    """Return the figures that experiments left of these weights, with intervals, by world.

    Args:
        results: folder of experiments' pages.
        parts: digest of each part of the weights, by its name.
        claims: the figures that are wanted.
    """
    rows = []
    for claim in claims:
        path = results / claim.experiment / ABLATION_FILE
        if not path.is_file():
            continue
        book = json.loads(path.read_text())
        if parts not in book.get("starters", ()):
            continue
        cells = [_cell(claim, world, book["rows"]) for world in _WORLDS]
        if any(cells):
            page = f"docs/results/{claim.experiment}/ablation.md"
            rows.append((claim.label, *(cell or "-" for cell in cells), f"`{page}`"))
    return _table(("figure", "procedural", "Freedoom, unseen maps", "from"), rows)


def num_parameters(path: Path) -> int:
    """Return the numbers in a safetensors file by its header; no tensor is read."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def main(arguments: Sequence[str]) -> None:
    """Write every table anew that the card of a folder has markers for."""
    folder = Path(arguments[0]) if arguments else CARRIED
    card = folder / CARD_FILE
    text = card.read_text(encoding="utf-8")
    tables: Mapping[str, Callable[[], str]] = {
        "files": lambda: files_table(folder),
        "training": lambda: training_table(json.loads((folder / RECORD_FILE).read_text())),
        "figures": lambda: figures_table(RESULTS, part_digests(folder)),
    }
    for name, table in tables.items():
        start = f"<!-- {name}: made by python -m cli.starter_card -->"
        if start in text:
            text = between(text, table(), start=start, end=f"<!-- end of {name} -->")
    card.write_text(text, encoding="utf-8")


def _cell(claim: Claim, world: str, rows: Sequence[Row]) -> str:
    wanted = (world, claim.path, claim.arm, claim.figure)
    for row in rows:
        if (row["world"], row["path"], row["arm"], row["figure"]) == wanted:
            found = row["difference" if claim.is_difference else "value"]
            if isinstance(found, dict):
                sign = "+" if claim.is_difference else ""
                mean, low, high = (float(str(found[key])) for key in ("mean", "low", "high"))
                unit = f" {row['unit']}" if row["unit"] else ""
                count = f"{found['num_seeds']} x {found['num_worlds']}"
                return f"{mean:{sign}.2f}{unit} [{low:{sign}.2f}, {high:{sign}.2f}], n = {count}"
    return ""


def _change(before: Row, after: Row) -> str:
    """Return held-out figures before and after a leg, by name."""
    told = []
    for name, value in after.items():
        if name == "step":
            continue
        first = before.get(name)
        has_changed = isinstance(first, int | float) and before != after
        told.append(f"{name} " + (f"{first:.3f} to " if has_changed else "") + f"{value:.3f}")
    return "; ".join(told)


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    assert isinstance(value, dict)
    return value


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main(sys.argv[1:])
