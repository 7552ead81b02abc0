"""Results of clips for tests; not a test."""

from __future__ import annotations

from worldloom.evaluate.parity_report import ParityReport
from worldloom.evaluate.results import ClipResult

GOOD_PARITY = ParityReport(
    latent_cosine=0.999, latent_relative_error=0.02, frame_psnr_db=35.0, num_frames=48
)


def clip_result(clip_id: str, **values: object) -> ClipResult:
    """A clip that clears every bar, but for the values given."""
    known: dict[str, object] = {
        "clip_id": clip_id,
        "source": "procedural",
        "world": "7",
        "trajectory": "palindrome",
        "seed": 1,
        "num_frames": 48,
        "is_sound": True,
        "psnr_db": 20.0,
        "copy_last_frame_psnr_db": 13.0,
        "ssim": 0.7,
        "perceptual_distance": 0.2,
        "sharpness_ratio": 0.9,
        "segment_psnr_db": (21.0, 20.0, 20.0, 19.0),
        "drift_db_per_segment": -0.6,
        "num_revisits": 20,
        "revisit_psnr_db": 19.0,
        "self_consistency_psnr_db": 22.0,
        "num_turning_pairs": 20,
        "num_right_yaw_signs": 19,
        "num_right_yaw_signs_ground_truth": 20,
        "left_right_divergence": 40.0,
        "noise_divergence": 8.0,
    }
    return ClipResult.model_validate(known | values)
