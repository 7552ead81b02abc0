"""What the demo leaves behind: figures, a film beside the ground truth, a contact sheet, a page.

Every figure comes from this run: the stages' own records, the evaluation report of the pipeline,
and the frames that the server sent. It measures nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cli.demo_page import build_page, enlargement, sheet_of
from cli.demo_walk import PlayedWalks, RecordedWalk
from cli.pipeline_requests import home, store_address
from worldloom.config import JsonValue
from worldloom.errors import ServingError

if TYPE_CHECKING:
    from components.task_status import TaskStatus
    from worldloom.evaluate.report import EvaluationReport

SUMMARY_FILE = "summary.json"
FILM_FILE = "walk.mp4"
CONTACT_SHEET_FILE = "contact_sheet.png"
COMMANDS_FILE = "commands.png"
PAGE_FILE = "report.html"
_PANEL_PIXELS = 320

Frames = NDArray[np.uint8]


def write_demo(
    out: Path,
    run_folder: Path,
    walks: Sequence[RecordedWalk],
    played: PlayedWalks,
    stages: Mapping[str, Mapping[str, JsonValue]],
) -> dict[str, object]:
    """Write film, contact sheet, summary and page into `out`; return what the command answers.

    Raises:
        ServingError: when the server's frames are not as many as the actions.
    """
    served = served_frames(walks, played)
    write_films(out, walks, served)
    told = command_frames(played)
    write_commands(out, told)
    statuses = statuses_of(run_folder)
    report = _evaluation_report(statuses)
    summary = _figures_of_run(run_folder.name, statuses, report)
    summary |= _figures_of_walks(walks, played, served)
    summary |= {"stages": {name: dict(stage) for name, stage in stages.items()}}
    (out / SUMMARY_FILE).write_text(json.dumps(summary, indent=2) + "\n")
    page = build_page(summary, report, walks, served, told, out / FILM_FILE, _metrics(statuses))
    (out / PAGE_FILE).write_text(page)
    return _answer(out, summary)


def served_frames(walks: Sequence[RecordedWalk], played: PlayedWalks) -> list[Frames]:
    """Return the frames that the server sent for each walk, as many as were recorded.

    Raises:
        ServingError: when they are not as many, or of another size.
    """
    from services.recording import walk_frames

    films = []
    for walk, result in zip(walks, played.results, strict=True):
        frames, truth = walk_frames(result), walk.clip.frames
        if frames.shape != truth.shape:
            message = (
                f"{walk.name} walk: the server sent {list(frames.shape)} frames, "
                f"expected {list(truth.shape)}"
            )
            raise ServingError(message)
        films.append(frames)
    return films


def write_films(out: Path, walks: Sequence[RecordedWalk], served: Sequence[Frames]) -> None:
    """Write the film, every walk above the next one, and the contact sheet."""
    from worldloom.evaluate.film import side_by_side, write_mp4, write_png

    pairs = [
        (walk.name, frames, walk.clip.frames) for walk, frames in zip(walks, served, strict=True)
    ]
    films = [
        side_by_side(
            [frames, truth],
            [f"{name}, served", f"{name}, ground truth"],
            factor=enlargement(truth, _PANEL_PIXELS),
        )
        for name, frames, truth in pairs
    ]
    write_mp4(out / FILM_FILE, np.concatenate(films, axis=1))
    rows = [
        (f"{name}, {label}", film)
        for name, frames, truth in pairs
        for label, film in (("served", frames), ("ground truth", truth))
    ]
    write_png(out / CONTACT_SHEET_FILE, sheet_of(rows))


def command_frames(played: PlayedWalks) -> dict[str, Frames]:
    """Return the frames that the server sent for each command, by its name."""
    from services.recording import walk_frames

    return {name: walk_frames(result) for name, result in played.commands.items()}


def write_commands(out: Path, told: Mapping[str, Frames]) -> None:
    """Write what came of each command from the same start, one below the other."""
    from worldloom.evaluate.film import write_png

    write_png(out / COMMANDS_FILE, sheet_of(list(told.items())))


def complete_summary(
    out: Path,
    stages: Mapping[str, Mapping[str, JsonValue]],
    *,
    pipeline_seconds: float,
    total_seconds: float,
) -> None:
    """Add what is known at the end alone: every stage, and how long all of it took by the clock."""
    path = out / SUMMARY_FILE
    summary = json.loads(path.read_text())
    summary["stages"] = {name: dict(stage) for name, stage in stages.items()}
    summary["pipeline_seconds"] = round(pipeline_seconds, 2)
    summary["total_seconds"] = round(total_seconds, 2)
    path.write_text(json.dumps(summary, indent=2) + "\n")


def _figures_of_run(
    run_id: str, statuses: Mapping[str, TaskStatus], report: EvaluationReport
) -> dict[str, JsonValue]:
    from services.tracking_server import mlflow_command

    return {
        "run_id": run_id,
        "machine": _machine(),
        "control": dict(report.control()),
        "metrics": dict(report.metrics()),
        "verdict": report.verdict,
        "decision": statuses["promote"].outputs["decision"],
        "reasons": list(report.reasons),
        "training": _training_figures(statuses),
        "clips_digest": statuses["ingest"].outputs["clips"],
        "report_digest": statuses["evaluate"].outputs["report"],
        "candidate_digest": statuses["quantize"].outputs["release"],
        "mlflow_command": mlflow_command(home()),
    }


def _figures_of_walks(
    walks: Sequence[RecordedWalk], played: PlayedWalks, served: Sequence[Frames]
) -> dict[str, JsonValue]:
    """Return what the first walk's stream measured, and every walk's quality by its name."""
    from services.registry import DEFAULT_MODEL

    first = played.results[0]
    return {
        "frames": len(first.frames),
        "first_frame_seconds": first.first_frame_seconds,
        "frames_per_second": first.frames_per_second,
        "server_ready_seconds": played.server_seconds,
        "walks": {
            walk.name: _walk_quality(frames, walk.clip.frames)
            for walk, frames in zip(walks, served, strict=True)
        },
        "release_digest": played.release.digest,
        "model_name": DEFAULT_MODEL,
        "model_version": played.release.version,
        "serve_command": "worldloom serve",
        "play_command": f"worldloom play --actions {walks[0].actions_file} --out again.mp4",
    }


def _machine() -> str:
    """Return what the figures were measured on, in words."""
    import os

    import psutil

    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    gibibytes = psutil.virtual_memory().total / 2**30
    _, _, load = os.getloadavg()
    cores = f"{os.cpu_count()} cores ({model})"
    return f"{cores}, {gibibytes:.0f} GiB, no GPU used, load {load:.1f}"


def statuses_of(run_folder: Path) -> dict[str, TaskStatus]:
    """Return the run's tasks by name."""
    from pipelines.run_record import task_statuses

    return {status.task: status for status in task_statuses(run_folder)}


def _evaluation_report(statuses: Mapping[str, TaskStatus]) -> EvaluationReport:
    from worldloom.evaluate.report import read_report

    return read_report(_artifact(statuses["evaluate"].outputs["report"]))


def _artifact(digest: str) -> Path:
    from worldloom.store import open_store

    return open_store(store_address()).fetch(digest)


def _metrics(statuses: Mapping[str, TaskStatus]) -> dict[str, Path]:
    """Return the metrics file of each artifact that was trained."""
    return {
        output: _artifact(statuses[task].outputs[output]) / "metrics.json"
        for task, output in (("train_transformer", "base"), ("distil_student", "student"))
    }


def _training_figures(statuses: Mapping[str, TaskStatus]) -> dict[str, JsonValue]:
    """Return the held-out figures before and after the training of this run."""
    found: dict[str, JsonValue] = {}
    for artifact, path in _metrics(statuses).items():
        values = json.loads(path.read_text())
        found[artifact] = {
            name: value for name, value in values.items() if isinstance(value, int | float)
        }
    return found


def _walk_quality(served: Frames, truth: Frames) -> dict[str, JsonValue]:
    """Return the walk's PSNR against the recording, beside that of standing still."""
    from worldloom.evaluate.video_quality import psnr_db

    still = np.repeat(truth[:1], len(truth), axis=0)
    return {
        "psnr_db": float(np.mean(psnr_db(served[1:], truth[1:]))),
        "copy_first_frame_psnr_db": float(np.mean(psnr_db(still[1:], truth[1:]))),
    }


def _answer(out: Path, summary: Mapping[str, JsonValue]) -> dict[str, object]:
    control = summary["control"]
    assert isinstance(control, dict)
    return {
        "page": str(out / PAGE_FILE),
        "film": str(out / FILM_FILE),
        "summary": str(out / SUMMARY_FILE),
        "verdict": summary["verdict"],
        "served": f"{summary['model_name']} version {summary['model_version']}",
        "frames": summary["frames"],
        "first_frame_seconds": round(float(str(summary["first_frame_seconds"])), 3),
        "frames_per_second": round(float(str(summary["frames_per_second"])), 1),
        **{name: round(float(str(value)), 3) for name, value in control.items()},
        "mlflow": summary["mlflow_command"],
    }
