"""Task `ingest`: worlds to clips, captured on Ray, filtered, captioned and stored.

A killed run goes on by clip: finished ones are in the scratch folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from components.runtime import Step, StepContext
from worldloom.data.capture import CaptureConfig, plan

STEP = Step(name="ingest", config=CaptureConfig, parents=(), outputs=("clips",))


def run(context: StepContext[CaptureConfig]) -> Mapping[str, str]:
    """Capture the config's clips and store them."""
    from worldloom.data.ingest import ingest

    folder = context.fresh_folder("clips")
    summary = ingest(context.config, folder, scratch=context.scratch)
    clips = cast("Mapping[str, Mapping[str, int]]", summary["clips"])
    kept = {split: sum(counts.values()) for split, counts in clips.items()}
    planned = len(plan(context.config))
    context.tracker.log_params(
        {"num_frames": context.config.num_frames, "seed": context.config.seed}
    )
    context.tracker.log_metrics(
        {
            "clips_train": float(kept["train"]),
            "clips_test": float(kept["test"]),
            "drop_rate": 1 - sum(kept.values()) / planned,
            "frames": float(cast("int", summary["num_frames"])),
        },
        step=0,
    )
    report = context.scratch / "drops.json"
    report.write_text(json.dumps(summary["dropped"], indent=2) + "\n")
    context.tracker.log_file(report, "ingestion")
    return {"clips": context.commit(folder, "clips")}
