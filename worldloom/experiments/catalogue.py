"""The experiments by name: what the project claims, and the arms that decide it.

Data and nothing more. It does not know weights, machines or results.
"""

from __future__ import annotations

from collections.abc import Mapping

from worldloom.errors import ConfigError
from worldloom.experiments.arms import Arm, Experiment, WalkPlan

# Walks of about 8, 12 and 125 segments of three latents: 8, 9 and 94 seconds at 16 frames a second.
_PALINDROMES = WalkPlan(path="palindrome", num_segments=12, num_cases=48)
_FORWARD = WalkPlan(path="forward", num_segments=8, num_cases=32)
_STILL = WalkPlan(path="still", num_segments=12, num_cases=16)
_LONG = WalkPlan(path="laps", num_segments=125, num_cases=24, arms=("none", "ours"))

_QUALITY = (
    "psnr_db",
    "revisit_psnr_db",
    "revisit_ssim",
    "texture_distance",
    "sharpness_ratio",
    "drift_db_per_segment",
)

MEMORY = Experiment(
    name="memory",
    question="What does memory add, and what does choosing it well?",
    control="none",
    arms=(
        Arm(name="ours", title="greedy cover, slots held for 40 frames"),
        Arm(name="reference", title="best frame a query, oldest on ties", memory="reference"),
        Arm(name="random", title="sink and drawn evenly", memory="random"),
        Arm(name="none", title="recent past alone", memory="none"),
        Arm(name="oracle", title="nearest poses, chosen anew", memory="oracle"),
    ),
    walks=(_PALINDROMES, _LONG),
    figures=(
        "revisit_psnr_db",
        "revisit_ssim",
        "revisited_psnr_db",
        "mirror_psnr_db",
        "loss_segments_2_to_12_db",
        "late_over_early_revisit_ssim",
        "yaw_error_degrees",
        "key_accuracy_ratio",
    ),
)

QUANTIZATION = Experiment(
    name="quantization",
    question="What do 8 bits cost, in attention's projections and in all large linear layers?",
    control="fp32",
    arms=(
        Arm(name="fp32", title="32-bit floats"),
        Arm(name="int8-attention", title="q, k, v, o in INT8", quantization="int8-attention"),
        Arm(name="int8-all", title="all large linears in INT8", quantization="int8-all"),
        Arm(name="fp8-all", title="all large linears in FP8", quantization="fp8-all"),
    ),
    walks=(_PALINDROMES, _FORWARD),
    figures=(*_QUALITY, "parity_psnr_db"),
)

DECODER = Experiment(
    name="decoder",
    question="What do narrower decoders cost, in reconstruction and from end to end?",
    control="full",
    arms=(
        Arm(name="full", title="all channels"),
        Arm(
            name="half",
            title="50 % cut, then taught",
            decoder_removed=0.5,
            decoder_steps=600,
        ),
        Arm(
            name="quarter",
            title="75 % cut, then taught",
            decoder_removed=0.75,
            decoder_steps=600,
        ),
    ),
    walks=(_PALINDROMES,),
    figures=("reconstruction_psnr_db", *_QUALITY, "parity_psnr_db"),
)

STUDENT = Experiment(
    name="student",
    question="What do few steps cost, and does distillation over several segments mend it?",
    control="teacher",
    arms=(
        Arm(name="teacher", title="base model, its own steps", weights="base"),
        Arm(name="multi-segment", title="student, rollouts of 1 to 6 segments"),
        Arm(name="single-segment", title="student, one segment", weights="own"),
        Arm(name="naive", title="base at the student's steps", weights="base", is_naive=True),
    ),
    walks=(_PALINDROMES, _FORWARD, _STILL),
    figures=(
        "revisit_psnr_db",
        "frechet_novel",
        "sharpness_ratio",
        "texture_distance",
        "drift_db_per_segment",
        "key_accuracy_ratio",
        "kept_psnr_db",
    ),
)

ERROR_BUFFER = Experiment(
    name="error-buffer",
    question="Does learning on disturbed context make walks drift less, at equal steps?",
    control="none",
    arms=(
        Arm(name="none", title="clean context", weights="own"),
        Arm(name="uniform", title="the paper's buffer", weights="own"),
        Arm(name="matched", title="residuals matched to their content", weights="own"),
        Arm(name="rollout", title="own rollouts as history", weights="own"),
        Arm(name="cache", title="own rollouts, the stream's own cache", weights="own"),
    ),
    walks=(_PALINDROMES, _FORWARD, _STILL),
    figures=(
        "drift_db_per_segment",
        "loss_segments_2_to_12_db",
        "psnr_db",
        "revisit_psnr_db",
        "sharpness_ratio",
        "frechet_novel",
        "kept_psnr_db",
    ),
)

REACH = Experiment(
    name="reach",
    question="What does it cost that committed latents see less, at equal steps?",
    control="bidirectional",
    arms=(
        Arm(name="latent", title="themselves", weights="own"),
        Arm(name="segment", title="their segment", weights="own"),
        Arm(name="window", title="the window that their segment saw", weights="own"),
        Arm(name="bidirectional", title="everything, at every step", weights="own"),
    ),
    walks=(_PALINDROMES,),
    figures=_QUALITY,
)

EXPERIMENTS: Mapping[str, Experiment] = {
    experiment.name: experiment
    for experiment in (MEMORY, ERROR_BUFFER, STUDENT, QUANTIZATION, DECODER, REACH)
}


def experiment(name: str) -> Experiment:
    """Return an experiment; raises `ConfigError` listing the known names."""
    if name not in EXPERIMENTS:
        message = f"experiment {name!r}: not known, expected one of {', '.join(EXPERIMENTS)}"
        raise ConfigError(message)
    return EXPERIMENTS[name]
