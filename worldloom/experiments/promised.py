"""What each experiment must reach: data and nothing more.

Limits hold for worlds that no training has seen; where a world has none, the figure is printed. It
does not know arms beyond their names, nor what came of anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from worldloom.experiments.claims import (
    DENOISE_SECONDS,
    SEGMENT_SECONDS,
    STORED_RATIO,
    Claim,
    Limit,
)
from worldloom.experiments.novelty import FRECHET


def _both(limit: Limit) -> Mapping[str, Limit]:
    return {"procedural": limit, "vizdoom": limit}


def _within(procedural: float, vizdoom: float) -> Mapping[str, Limit]:
    return {"procedural": Limit(most=procedural), "vizdoom": Limit(most=vizdoom)}


def _above(procedural: float, vizdoom: float) -> Mapping[str, Limit]:
    return {"procedural": Limit(least=procedural), "vizdoom": Limit(least=vizdoom)}


def _obeys(arm: str) -> tuple[Claim, ...]:
    return (
        Claim(
            says="turn of a frame against the one asked for, by render and compare",
            figure="turn_error_degrees_per_frame",
            arm=arm,
            limits={"procedural": Limit(most=0.5)},
        ),
        Claim(
            says="heading against the one asked for, by render and compare",
            figure="yaw_error_degrees",
            arm=arm,
        ),
        Claim(
            says="turn of a frame against the one asked for, read by inverse dynamics",
            figure="read_turn_error_degrees",
            arm=arm,
            limits=_within(0.5, 1.0),
        ),
        Claim(
            says="the same read from the recording: what the reader itself errs",
            figure="recording_read_turn_error_degrees",
            arm=arm,
        ),
        Claim(
            says="keys read right, over those read right from the recording",
            figure="key_accuracy_ratio",
            arm=arm,
            limits=_above(0.95, 0.9),
        ),
    )


MEMORY_CLAIMS = (
    Claim(
        says="memory over none, revisits",
        figure="revisit_psnr_db",
        arm="ours",
        comparison="difference",
        against="none",
        limits={"procedural": Limit(least=8, goal=11), "vizdoom": Limit(least=3, goal=5)},
    ),
    Claim(
        says="memory over random memory, revisits",
        figure="revisit_psnr_db",
        arm="ours",
        comparison="difference",
        against="random",
        limits={"procedural": Limit(least=3)},
    ),
    Claim(
        says="memory chosen for every segment over memory held for 40 frames, revisits",
        figure="revisit_psnr_db",
        arm="ours",
        comparison="difference",
        against="held",
    ),
    Claim(
        says="what is lost to the nearest exact poses, revisits",
        figure="revisit_psnr_db",
        arm="oracle",
        comparison="difference",
        against="ours",
        limits={"procedural": Limit(most=0.75)},
    ),
    Claim(
        says="loss from segment 2 to segment 12, with memory",
        figure="loss_segments_2_to_12_db",
        arm="ours",
        limits=_within(0.5, 1.5),
    ),
    Claim(
        says="the same, less what the autoencoder alone loses on these walks",
        figure="loss_beyond_reconstruction_db",
        arm="ours",
        limits=_within(0.5, 1.5),
    ),
    Claim(
        says="revisit SSIM after 1,500 frames over that of the first 10 seconds, with memory",
        figure="late_over_early_revisit_ssim",
        path="laps",
        arm="ours",
        limits=_above(0.9, 0.8),
    ),
    Claim(
        says="the same without memory", figure="late_over_early_revisit_ssim",
        path="laps", arm="none",
    ),
    *_obeys("ours"),
)  # fmt: skip


def _serves(arm: str, who: str) -> tuple[Claim, ...]:
    """What a student must be worth beside its teacher."""
    return (
        Claim(
            says=f"{who} against its teacher, revisits",
            figure="revisit_psnr_db",
            arm=arm,
            comparison="difference",
            against="teacher",
            limits=_above(-0.5, -0.7),
        ),
        Claim(
            says=f"{who}: Frechet's distance of novel regions, over the teacher's",
            figure=FRECHET,
            path="forward",
            arm=arm,
            comparison="ratio",
            against="teacher",
            limits=_both(Limit(most=1)),
        ),
        Claim(
            says=f"{who}: the same over that of as few naive steps",
            figure=FRECHET,
            path="forward",
            arm=arm,
            comparison="ratio",
            against="naive",
            limits=_both(Limit(most=0.5)),
        ),
        Claim(
            says=f"{who}: sharpness, over the recording's",
            figure="sharpness_ratio",
            arm=arm,
            limits=_both(Limit(least=0.85, most=1.15)),
        ),
        Claim(
            says=f"{who}: sharpness, over what the autoencoder alone makes of the recording",
            figure="sharpness_over_reconstruction",
            arm=arm,
            limits=_both(Limit(least=0.85, most=1.15)),
        ),
        Claim(
            says=f"{who}: sharpness, over the teacher's",
            figure="sharpness_ratio",
            arm=arm,
            comparison="ratio",
            against="teacher",
            limits=_both(Limit(least=0.85, most=1.15)),
        ),
        Claim(
            says=f"{who}: drift on ways that lead on, over the teacher's",
            figure="drift_db_per_segment",
            path="forward",
            arm=arm,
            comparison="ratio",
            is_of_loss=True,
            against="teacher",
            limits=_both(Limit(most=1.5)),
        ),
        Claim(
            says=f"{who}: drift on ways back against the teacher's, which does not drift there",
            figure="drift_db_per_segment",
            arm=arm,
            comparison="difference",
            against="teacher",
        ),
    )


STUDENT_CLAIMS = (
    *_serves("multi-segment", "student of several segments"),
    *_serves("shipped", "shipped student"),
    Claim(
        says="the most sharpness that the autoencoder allows, over the recording's",
        figure="reconstruction_sharpness_ratio",
        arm="teacher",
    ),
    Claim(
        says="student of several segments against that of one, revisits",
        figure="revisit_psnr_db",
        arm="multi-segment",
        comparison="difference",
        against="single-segment",
    ),
    Claim(
        says="Frechet's distance of novel regions, over the single-segment student's",
        figure=FRECHET,
        path="forward",
        arm="multi-segment",
        comparison="ratio",
        against="single-segment",
    ),
    Claim(
        says="time of a segment's denoising: the teacher's over the student's",
        figure=DENOISE_SECONDS,
        arm="teacher",
        comparison="ratio",
        against="shipped",
        limits=_both(Limit(least=15)),
    ),
    Claim(
        says="the same with the pass that commits, which both make (at most 51 passes over 4)",
        figure=SEGMENT_SECONDS,
        arm="teacher",
        comparison="ratio",
        against="shipped",
        limits=_both(Limit(least=15)),
    ),
    *_obeys("shipped"),
    Claim(
        says="first frame behind a recorded past, teacher (GameNGen's: 29.43 dB, see above)",
        figure="forced_first_frame_psnr_db",
        arm="teacher",
    ),
    Claim(
        says="the most that its autoencoder allows, whole walks",
        figure="reconstruction_psnr_db",
        arm="teacher",
    ),
)

QUANTIZATION_CLAIMS = (
    *(
        Claim(
            says=f"{says}, against 32-bit floats",
            figure=figure,
            arm=arm,
            comparison="difference",
            against="fp32",
            limits=_above(-most, -most),
        )
        for arm, says, most in (
            ("int8-attention", "INT8 of q, k, v, o", 0.1),
            ("int8-all", "INT8 of all large linears", 0.1),
            ("fp8-all", "FP8 of all large linears", 0.2),
        )
        for figure in ("psnr_db", "revisit_psnr_db")
    ),
    Claim(
        says="bytes of the transformer in an INT8 release, over 32-bit floats",
        figure=STORED_RATIO,
        arm="int8-all",
        limits=_both(Limit(most=0.3)),
    ),
)

DECODER_CLAIMS = tuple(
    Claim(
        says=f"{says}, {how}",
        figure=figure,
        arm=arm,
        comparison="difference",
        against="full",
        limits=_above(-most, -most) if figure == "psnr_db" else {},
    )
    for arm, says, most in (
        ("half", "50 % of the channels cut", 0.75),
        ("quarter", "75 % of the channels cut", 1.5),
    )
    for figure, how in (
        ("psnr_db", "from end to end"),
        ("revisit_psnr_db", "revisits"),
        ("reconstruction_psnr_db", "reconstruction (the paper's: 1.95 and 2.65 dB)"),
    )
)

ERROR_BUFFER_CLAIMS = tuple(
    Claim(
        says=f"{arm}, {where}: {says}",
        figure=figure,
        path=path,
        arm=arm,
        comparison="ratio",
        is_of_loss=True,
        against="none",
        limits={"procedural": Limit(most=1, goal=0.6)},
    )
    for path, where in (("still", "standing before a given view"), ("palindrome", "out and back"))
    for arm in ("uniform", "matched", "rollout", "cache")
    for figure, says in (
        ("own_past_slope_db_per_segment", "drift that its own past causes, over the control's"),
        ("drift_db_per_segment", "drift, over the control's"),
    )
)
