"""Runs one leg of training: clips from beside it, weights from the leg before, for the next.

    WEIGHTS/vae, base, student, critic   what is there is gone on from; what is not begins anew
    OUT/vae | base | student + critic    what this stage trained, moving averages in 16 bits
    OUT/decoder-50 | decoder-75          the same of the VAE's narrow decoders
    OUT/leg.json                         what was done and how it went

A leg ends with its time, so how many steps it took and which clips were there when hangs on the
machine; `max_steps` makes two legs equal. It does not know the command line.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from pathlib import Path

import torch

from worldloom.config import JsonValue, resolved
from worldloom.errors import TrainingError
from worldloom.legs.clip_file import ClipFolder
from worldloom.legs.config import LegConfig
from worldloom.legs.feed import Feed
from worldloom.legs.leg import Leg, LegResult, Report
from worldloom.legs.stages import STAGES
from worldloom.log import log_event
from worldloom.memory.config import RetrievalConfig
from worldloom.presets import preset, with_overrides
from worldloom.train.checkpoint import write_atomically

logger = logging.getLogger(__name__)

LOG_FILE = "leg.json"
COMPILE_CACHE_FILE = "compile_cache.bin"
MOST_BYTES_IN_A_FILE = 16 << 20
_MOST_ROWS = 200


def run_leg(
    config: LegConfig,
    *,
    data: Path,
    weights: Path,
    out: Path,
    report: Report | None = None,
) -> dict[str, JsonValue]:
    """Train one leg and return what its log says.

    Args:
        config: stage, model, minutes, clips.
        data: folder of clips; what it holds of the same feed is used, the rest is rendered.
        weights: folder of the parts to go on from.
        out: folder for the parts that were trained, and the log.
        report: told step, number of steps and values.

    Raises:
        ConfigError: for a preset or an override that is not known.
        ArtifactError: when a part that the stage needs is not there.
        DataError: when more than a hundredth of the clips cannot be read.
        TrainingError: for a loss that is not finite, or weights larger than may be written.
        MachineError: when a rendering process ends with an error.
    """
    model = with_overrides(preset(config.preset), config.shape)
    started = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    _load_compile_cache(weights)
    retrieval = RetrievalConfig()
    with (
        Feed(config.feed, data, model.transformer, retrieval) as feed,
        tempfile.TemporaryDirectory(prefix="leg-") as scratch,
    ):
        leg = Leg(
            config,
            model,
            weights,
            out,
            device,
            feed,
            ClipFolder(data, "train"),
            ClipFolder(data, "test"),
            report,
        )
        result = STAGES[config.stage](leg, Path(scratch))
    if config.compiles:
        _save_compile_cache(out)
    log = _log_of(leg, result, time.monotonic() - started)
    write_atomically(out / LOG_FILE, (json.dumps(log, indent=1) + "\n").encode())
    _require_small(out)
    log_event(logger, "leg_done", stage=config.stage, steps=result.num_steps, out=str(out))
    return log


def _log_of(leg: Leg, result: LegResult, seconds: float) -> dict[str, JsonValue]:
    every = max(1, len(result.history) // _MOST_ROWS)
    rows: list[JsonValue] = [dict(row) for row in result.history[::every]]
    evaluations: list[JsonValue] = [dict(row) for row in result.evaluations]
    on_gpu = leg.device.type == "cuda"
    return {
        "config": resolved(leg.config),
        "device": torch.cuda.get_device_name(leg.device) if on_gpu else "cpu",
        "torch": torch.__version__,
        "seconds": round(seconds, 1),
        "num_steps": result.num_steps,
        "clips": {"by_source": dict(leg.sources), "damaged": list(leg.train.damaged)},
        "speed": dict(result.speed),
        "evaluations": evaluations,
        "history_every": every,
        "history": rows,
    }


def _load_compile_cache(weights: Path) -> None:
    path = weights / COMPILE_CACHE_FILE
    if path.is_file():
        torch.compiler.load_cache_artifacts(path.read_bytes())


def _save_compile_cache(out: Path) -> None:
    """Keep what was compiled for the next leg, where it is small enough to travel."""
    saved = torch.compiler.save_cache_artifacts()
    if saved is not None and len(saved[0]) <= MOST_BYTES_IN_A_FILE:
        write_atomically(out / COMPILE_CACHE_FILE, saved[0])


def _require_small(out: Path) -> None:
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.stat().st_size > MOST_BYTES_IN_A_FILE:
            message = (
                f"{path}: {path.stat().st_size} bytes, expected at most {MOST_BYTES_IN_A_FILE}; "
                "it is written all the same"
            )
            raise TrainingError(message)
