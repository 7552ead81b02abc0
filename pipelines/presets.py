"""Settings of whole runs by name: only what differs from each task's own defaults.

`demo` fits ten minutes of two cores, `smallest` is what tests run. A preset is for training from
nothing; what `fine_tuning` asks for otherwise is laid over it. A task's config class checks them
when a run is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping

from worldloom.config import JsonValue

PRESETS: Mapping[str, Mapping[str, Mapping[str, JsonValue]]] = {
    "demo": {
        "ingest": {
            "procedural_clips": {"train": 40, "test": 12},
            "vizdoom_clips": {"train": 40, "test": 12},
        },
        "train_vae": {"trainer": {"num_steps": 200}, "max_held_out_clips": 16},
        "train_transformer": {
            "objective": {"batch_clips": 8},
            "trainer": {"num_steps": 120, "learner": {"learning_rate": 1e-3}},
        },
        "distil_student": {"distillation": {"num_steps": 24, "num_threads": 2}},
        "distil_decoder": {"max_held_out_clips": 16},
    },
    "smallest": {
        "ingest": {
            "num_frames": 37,
            "procedural_clips": {"train": 4, "test": 2},
            "vizdoom_clips": {"train": 2, "test": 2},
        },
        "train_vae": {"trainer": {"num_steps": 2}},
        "train_transformer": {
            "objective": {"batch_clips": 2},
            "trainer": {"num_steps": 3},
            "sample": {"num_segments": 1},
        },
        "distil_student": {
            "distillation": {
                "num_steps": 2,
                "batch_clips": 2,
                "max_segments": 2,
                "critic_updates_per_student_update": 1,
            },
            "measured_segments": 1,
        },
        "train_actions": {
            "objective": {"batch_clips": 2},
            "trainer": {"num_steps": 2},
            "sample": {"num_segments": 1},
        },
        "train_memory": {
            "objective": {"batch_clips": 2},
            "trainer": {"num_steps": 2},
            "sample": {"num_segments": 1},
        },
        "distil_cold_start": {
            "distillation": {
                "num_steps": 1,
                "batch_clips": 2,
                "critic_updates_per_student_update": 1,
            },
            "measured_segments": 1,
        },
        "distil_multi_segment": {
            "distillation": {
                "num_steps": 1,
                "batch_clips": 2,
                "max_segments": 2,
                "critic_updates_per_student_update": 1,
            },
            "measured_segments": 1,
        },
        "distil_decoder": {"trainer": {"num_steps": 4}},
        "quantize": {"num_worlds": 2, "parity": {"num_worlds": 2, "num_segments": 1}},
        "evaluate": {
            "suite": {"clips_per_source": 2, "max_segments": 3},
            # Four short clips say little, so the bars that hang on them are low.
            "gate": {"min_divergence_ratio": 1.5, "min_ground_truth_accuracy": 0.7},
        },
    },
}
