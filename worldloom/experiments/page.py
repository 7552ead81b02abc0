"""A book as a page of Markdown, a plot and films side by side.

    ablation.md    tables, with every figure's interval
    ablation.png   PSNR along the walks; the first figure of the question with its intervals
    ablation-<world>-<path>.mp4   the first walk under every arm, beside the recording
    ablation-<world>-<path>.jpg   some frames of it

It does not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldloom.data.clips import encode_frame
from worldloom.evaluate.film import contact_sheet, side_by_side, write_mp4
from worldloom.evaluate.paired import SeededInterval
from worldloom.evaluate.video_quality import Frames
from worldloom.experiments.book import Book, Row
from worldloom.experiments.cells import Place
from worldloom.experiments.claims import Answer, Claim
from worldloom.experiments.training_record import SHARED, TrainingRecord

PAGE_FILE, PLOT_FILE = "ablation.md", "ablation.png"
_COLOURS = ("#c2570c", "#2563a8", "#4d7c0f", "#8a8a8a", "#7e22ce", "#0f766e")
_DOTS_PER_INCH = 100
_FILM_PIXELS, _FILM_CRF = 192, 28
_SHEET_PIXELS, _SHEET_QUALITY = 128, 75


def page_of(book: Book) -> str:
    """Return the page."""
    experiment = book.experiment
    machine = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in book.machine)
    lines = [f"# {experiment.question}", "", f"`{book.command}`", "", f"Machine: {machine}.", ""]
    lines += [f"- *{arm.name}*: {arm.title}." for arm in experiment.arms]
    lines += ["", f"Differences are paired, against *{experiment.control}*. Definitions:"]
    lines += ["[evaluation](../../evaluation.md).", ""]
    if book.left_out:
        lines += [f"Not run, for want of weights: {', '.join(book.left_out)}.", ""]
    for note in experiment.notes:
        lines += [note, ""]
    if book.training is not None:
        lines += [*_training(book.training), ""]
    if book.answers:
        lines += [*_answers(book), ""]
    for place in book.places:
        lines += _section(book, place)
    return "\n".join(lines).rstrip() + "\n"


def write_page(folder: Path, book: Book) -> list[Path]:
    """Write page and plot into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, plot = folder / PAGE_FILE, folder / PLOT_FILE
    page.write_text(page_of(book), encoding="utf-8")
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        _figure(book).savefig(
            plot, dpi=_DOTS_PER_INCH, metadata={"Software": None}, pil_kwargs={"optimize": True}
        )
    return [page, plot]


def write_film(folder: Path, place: Place, films: Sequence[tuple[str, Frames]]) -> Path:
    """Write films of one walk side by side under their labels; return the path.

    Pages lie in the repository, so films are no larger than it takes to see a difference.
    """
    path = folder / f"{_stem(place)}.mp4"
    labels, frames = [label for label, _ in films], [film for _, film in films]
    factor = max(1, _FILM_PIXELS // frames[0].shape[2])
    write_mp4(path, side_by_side(frames, labels, factor=factor), crf=_FILM_CRF)
    return path


def write_sheet(folder: Path, place: Place, films: Sequence[tuple[str, Frames]]) -> Path:
    """Write frames of the same films as one picture, a row a film; return the path."""
    path = folder / f"{_stem(place)}.jpg"
    factor = max(1, _SHEET_PIXELS // films[0][1].shape[2])
    sheet = contact_sheet(films, factor=factor)
    path.write_bytes(encode_frame(sheet, "jpeg", quality=_SHEET_QUALITY))
    return path


def _stem(place: Place) -> str:
    return f"ablation-{place[0]}-{place[1]}"


def _training(record: TrainingRecord) -> list[str]:
    """Return what is told of the arms' own trainings."""
    config, trained = record.config, [arm for arm in record.arms if arm.arm != SHARED]
    shared = any(arm.arm == SHARED for arm in record.arms)
    begun = f" after {config.shared_steps} that all arms share" if shared else ""
    begun += " from the base of a starter" if config.start == "base" else ""
    clips = config.feed.procedural_clips + config.feed.vizdoom_clips
    lines = [
        f"Trained on {record.device}: {config.preset}, {config.num_steps} steps of {config.batch}"
        f" clips{begun}, from {clips} clips of {config.feed.num_frames} frames, the same for all"
        f" arms. Held out, mean over seeds:",
        "",
    ]
    names = list(dict.fromkeys(name for arm in trained for name in arm.held_out))
    lines += ["| arm | " + " | ".join(names) + " |", "| --- " * (1 + len(names)) + "|"]
    for arm in dict.fromkeys(each.arm for each in trained):
        own = [each.held_out for each in trained if each.arm == arm]
        means = [f"{np.mean([values[name] for values in own]):.4f}" for name in names]
        lines.append(f"| {arm} | " + " | ".join(means) + " |")
    return lines


def _answers(book: Book) -> list[str]:
    """Return what must show and what came of it, a column a world."""
    worlds = list(dict.fromkeys(answer.world for answer in book.answers))
    lines = ["## What must show", "", "| claim | " + " | ".join(worlds) + " |"]
    lines.append("| --- " * (1 + len(worlds)) + "|")
    for claim in book.experiment.claims:
        own = {answer.world: answer for answer in book.answers if answer.claim == claim}
        if own:
            cells = [_answer(own[world]) if world in own else "-" for world in worlds]
            says = f"{claim.says}<br>`{_formula(claim)}`, {claim.path}"
            lines.append(f"| {says} | " + " | ".join(cells) + " |")
    return lines


def _formula(claim: Claim) -> str:
    signs = {"value": "", "difference": f" - {claim.against}", "ratio": f" / {claim.against}"}
    return f"{claim.figure}: {claim.arm}{signs[claim.comparison]}"


def _answer(answer: Answer) -> str:
    limit = answer.claim.limits.get(answer.world)
    asked = f"; {limit.told}: **{answer.outcome}**" if limit else ""
    found = answer.found
    if found is None:
        kind = "does not fall" if answer.claim.is_of_loss else "may be 0"
        return f"no ratio: that of {answer.claim.against} {kind}{asked}"
    if found.low is None or found.high is None:
        return f"{found.mean:.2f}{asked}"
    sign = "+" if answer.claim.comparison == "difference" else ""
    seeds = f"{found.num_seeds} x " if found.num_seeds and found.num_seeds > 1 else ""
    numbers = _numbers(found.mean, found.low, found.high, sign)
    return f"{numbers}, n = {seeds}{found.num_walks}{asked}"


def _section(book: Book, place: Place) -> list[str]:
    rows = book.rows_of(place)
    arms = [a.name for a in book.experiment.arms if any(row.arm == a.name for row in rows)]
    lines = [f"## {place[0]}, {place[1]}: {rows[0].value.num_worlds} walks, {_seeds(rows)}", ""]
    lines += [f"![The first walk under every arm]({_stem(place)}.jpg)", ""]
    lines += [f"[The same as a film]({_stem(place)}.mp4)", ""]
    wanted = [name for name in book.experiment.figures if any(r.figure == name for r in rows)]
    others = [name for name in dict.fromkeys(row.figure for row in rows) if name not in wanted]
    lines += [*_table(rows, wanted, arms), ""]
    lines += ["<details><summary>Every other figure</summary>", ""]
    lines += [*_table(rows, others, arms), "", "</details>", ""]
    return lines + _speed_table(book, place)


def _seeds(rows: Sequence[Row]) -> str:
    """Tell training seeds: one number, or those of the arms that have several."""
    counts = {row.arm: row.value.num_seeds for row in rows}
    if len(set(counts.values())) == 1:
        return f"seeds {rows[0].value.num_seeds}"
    told = [f"{arm} {count}" for arm, count in counts.items() if count > 1]
    others = ["others 1"] if 1 in counts.values() else []
    return f"seeds: {', '.join([*told, *others])}"


def _table(rows: Sequence[Row], figures: Sequence[str], arms: Sequence[str]) -> list[str]:
    lines = ["| figure | unit | " + " | ".join(arms) + " |", "| --- " * (2 + len(arms)) + "|"]
    for figure in figures:
        cells = []
        for arm in arms:
            found = [row for row in rows if row.figure == figure and row.arm == arm]
            cells.append(_cell(found[0]) if found else "-")
        unit = next(row.unit for row in rows if row.figure == figure)
        lines.append(f"| {figure} | {unit} | " + " | ".join(cells) + " |")
    return lines


def _cell(row: Row) -> str:
    told = _told(row.value)
    return told if row.difference is None else f"{told}; {_told(row.difference, sign='+')}"


def _told(value: SeededInterval, sign: str = "") -> str:
    return _numbers(value.mean, value.low, value.high, sign)


def _numbers(mean: float, low: float, high: float, sign: str) -> str:
    digits = 2 if max(abs(mean), abs(low), abs(high)) >= 1 else 3
    texts = [f"{number:{sign}.{digits}f}" for number in (mean, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _speed_table(book: Book, place: Place) -> list[str]:
    lines = ["| arm | steps | seconds a segment, one walk | of these denoising |"]
    lines[0] += " weights over fp32 | in a release |"
    lines.append("| --- " * 6 + "|")
    for speed in book.speeds:
        if speed.place == place:
            told = [
                "-" if value is None else f"{value:{form}}"
                for value, form in (
                    (speed.num_steps, "d"),
                    (speed.segment_seconds, ".4f"),
                    (speed.denoise_seconds, ".4f"),
                    (speed.weight_ratio, ".2f"),
                    (speed.stored_ratio, ".2f"),
                )
            ]
            lines.append(f"| {speed.arm} | " + " | ".join(told) + " |")
    return [*lines, ""]


def _figure(book: Book) -> Figure:
    places = book.places
    figure = Figure(figsize=(9.0, 3.2 * len(places)), layout="constrained")
    for index, place in enumerate(places):
        _draw_curves(figure.add_subplot(len(places), 2, 2 * index + 1), book, place)
        _draw_intervals(figure.add_subplot(len(places), 2, 2 * index + 2), book, place)
    return figure


def _draw_curves(axes: Axes, book: Book, place: Place) -> None:
    curves = [curve for curve in book.curves if curve.place == place]
    for curve, colour in zip(curves, _COLOURS, strict=False):
        along = np.arange(1, len(curve.segment_psnr_db) + 1)
        axes.plot(along, curve.segment_psnr_db, color=colour, label=curve.arm)
    axes.set(xlabel="segment", ylabel="PSNR, dB", title=", ".join(place))
    axes.legend(frameon=False, fontsize=7)


def _draw_intervals(axes: Axes, book: Book, place: Place) -> None:
    """Draw the first figure of the question that was measured here."""
    rows = book.rows_of(place)
    named = [name for name in book.experiment.figures if any(r.figure == name for r in rows)]
    shown = [row for row in rows if named and row.figure == named[0]]
    for height, (row, colour) in enumerate(zip(shown, _COLOURS, strict=False)):
        axes.plot((row.value.low, row.value.high), (height, height), color=colour, linewidth=3)
        axes.plot(row.value.mean, height, "o", color=colour)
    axes.set_yticks(range(len(shown)), [row.arm for row in shown])
    axes.invert_yaxis()
    if shown:
        axes.set(xlabel=f"{shown[0].figure} {shown[0].unit}".rstrip())
