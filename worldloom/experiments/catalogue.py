"""The experiments by name: what the project claims, and the arms that decide it.

Data and nothing more. It does not know weights, machines or results.
"""

from __future__ import annotations

from collections.abc import Mapping

from worldloom.errors import ConfigError
from worldloom.experiments.arms import Arm, Experiment, WalkPlan
from worldloom.experiments.promised import (
    DECODER_CLAIMS,
    ERROR_BUFFER_CLAIMS,
    MEMORY_CLAIMS,
    QUANTIZATION_CLAIMS,
    STUDENT_CLAIMS,
)

# Segments of three latents are three quarters of a second at 16 frames a second. What nobody has
# seen nobody can remember, so the way out is given: nine seconds of it, seven and a half of laps.
_PALINDROMES = WalkPlan(path="palindrome", num_segments=12, num_cases=48)
_RETURNS = WalkPlan(path="return", num_segments=24, given_segments=12, num_cases=48)
_FORWARD = WalkPlan(path="forward", num_segments=8, num_cases=32)
_STILL = WalkPlan(path="still", num_segments=12, num_cases=16, locates=False)
_LONG = WalkPlan(
    path="laps",
    num_segments=125,
    given_segments=10,
    num_cases=24,
    arms=("none", "ours"),
    locates=False,
)

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
        Arm(name="ours", title="greedy cover, chosen anew for every segment"),
        Arm(name="held", title="greedy cover, slots held for 40 frames", memory="held"),
        Arm(name="reference", title="best frame a query, oldest on ties", memory="reference"),
        Arm(name="random", title="sink and drawn evenly", memory="random"),
        Arm(name="none", title="recent past alone", memory="none"),
        Arm(name="oracle", title="nearest poses, chosen anew", memory="oracle"),
    ),
    walks=(_RETURNS, _LONG),
    claims=MEMORY_CLAIMS,
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
    walks=(_RETURNS, _FORWARD),
    claims=QUANTIZATION_CLAIMS,
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
    walks=(_RETURNS,),
    claims=DECODER_CLAIMS,
    figures=("reconstruction_psnr_db", *_QUALITY, "parity_psnr_db"),
)

STUDENT = Experiment(
    name="student",
    question="What do few steps cost, and does distillation over several segments mend it?",
    control="teacher",
    arms=(
        Arm(name="teacher", title="base model, in many steps", weights="base"),
        Arm(name="multi-segment", title="student, rollouts of 1 to 6 segments", weights="own"),
        Arm(name="single-segment", title="student, one segment", weights="own"),
        Arm(name="shipped", title="student of the starter weights, behind a cold start"),
        Arm(name="naive", title="base at the student's steps", weights="base", is_naive=True),
    ),
    walks=(_RETURNS.model_copy(update={"probes": ("forced",)}), _FORWARD, _STILL),
    claims=STUDENT_CLAIMS,
    figures=(
        "revisit_psnr_db",
        "frechet_novel",
        "sharpness_ratio",
        "sharpness_over_reconstruction",
        "texture_distance",
        "drift_db_per_segment",
        "key_accuracy_ratio",
        "kept_psnr_db",
        "forced_psnr_db",
        "forced_first_frame_psnr_db",
    ),
    notes=(
        "GameNGen reports 29.43 dB on Doom, teacher-forced. Beside it stands the teacher's"
        " `forced_first_frame_psnr_db` in ViZDoom: one frame behind a recorded past. What differs:"
        " theirs is a latent diffusion model of hundreds of times as many parameters (Stable"
        " Diffusion 1.4) at 320x240, behind 64 frames of past, scored on held-out walks in five"
        " levels; ours has the size and resolution of these weights, makes twelve frames at once"
        " behind four latents of past and five of memory, and is scored on maps that no training"
        " has seen. Neither can be better than its autoencoder: `reconstruction_psnr_db`.",
    ),
)

# What errors do is only seen where nothing holds a walk in place: no memory, two latents of past.
# What is new is a guess, right or wrong from the start; a stand before a given view is none.
_UNHELD = (
    WalkPlan(path="palindrome", num_segments=20, num_cases=32, probes=("forced", "corrupted")),
    WalkPlan(path="forward", num_segments=20, num_cases=24, probes=("forced",)),
    WalkPlan(path="still", num_segments=16, given_segments=2, num_cases=24, probes=("forced",)),
)

ERROR_BUFFER = Experiment(
    name="error-buffer",
    question="Does learning on disturbed context make walks drift less, at equal steps?",
    control="none",
    arms=(
        Arm(name="none", title="clean context", weights="own", memory="none"),
        Arm(name="uniform", title="the paper's buffer", weights="own", memory="none"),
        Arm(name="matched", title="each latent's own residual", weights="own", memory="none"),
        Arm(
            name="rollout",
            title="own rollouts, mixed in by chance and strength",
            weights="own",
            memory="none",
        ),
        Arm(
            name="cache",
            title="own rollouts whole, as a stream's cache holds them",
            weights="own",
            memory="none",
        ),
    ),
    walks=_UNHELD,
    claims=ERROR_BUFFER_CLAIMS,
    figures=(
        "own_past_loss_db",
        "own_past_slope_db_per_segment",
        "drift_db_per_segment",
        "loss_segments_2_to_12_db",
        "forced_psnr_db",
        "psnr_db",
        "sharpness_ratio",
        "frechet_novel",
        "kept_psnr_db",
        "kept_sharpness",
        "noise_loss_db",
        "noise_loss_left_db",
        "blur_loss_db",
        "blur_loss_left_db",
        "estimate_loss_db",
        "estimate_loss_left_db",
    ),
    notes=(
        "Networks here remember nothing and see two latents of past, so that walks drift. Half of"
        " the clips of a step have their context disturbed, by a strength drawn from 0 to 1; for"
        " *cache* it is always 1. In a stream whose committed latents reach themselves alone, keys"
        " follow from latents, so own rollouts at full strength are what its cache holds.",
        "A slope says nothing of the level that it starts from: what falls less may have lost more"
        " at once. The curves show both.",
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
        Arm(name="bidirectional", title="everything, anew at every step", weights="own"),
    ),
    walks=(_PALINDROMES.model_copy(update={"probes": ("forced",)}),),
    figures=(*_QUALITY, "forced_psnr_db", "own_past_loss_db"),
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
