"""Every figure of an experiment by name: its unit, and which way is better.

A figure of no single walk (Frechet's distance) is not among them. It does not know how any is
measured.
"""

from __future__ import annotations

from collections.abc import Mapping

FIGURES: Mapping[str, tuple[str, bool | None]] = {
    # name: (unit, whether higher is better; None where it is read beside others)
    "psnr_db": ("dB", True),
    "ssim": ("", True),
    "texture_distance": ("", False),
    "perceptual_distance": ("", False),
    "sharpness_ratio": ("x", None),
    "drift_db_per_segment": ("dB", True),
    "loss_segments_2_to_12_db": ("dB", False),
    "revisit_psnr_db": ("dB", True),
    "revisit_ssim": ("", True),
    "self_consistency_psnr_db": ("dB", None),
    "late_over_early_revisit_ssim": ("x", True),
    "mirror_psnr_db": ("dB", True),
    "mirror_self_psnr_db": ("dB", None),
    "revisited_psnr_db": ("dB", True),
    "recent_psnr_db": ("dB", True),
    "novel_psnr_db": ("dB", None),
    "kept_psnr_db": ("dB", True),
    "kept_sharpness": ("x", None),
    "flicker_levels": ("levels", False),
    "yaw_error_degrees": ("degrees", False),
    "turn_error_degrees_per_frame": ("degrees a frame", False),
    "position_error_metres": ("m", False),
    "located_share": ("", True),
    "recording_yaw_error_degrees": ("degrees", None),
    "key_accuracy": ("", True),
    "read_turn_error_degrees": ("degrees a frame", False),
    "recording_key_accuracy": ("", None),
    "recording_read_turn_error_degrees": ("degrees a frame", None),
    "key_accuracy_ratio": ("x", True),
    "reconstruction_psnr_db": ("dB", True),
    "reconstruction_sharpness_ratio": ("x", None),
    "sharpness_over_reconstruction": ("x", None),
    "loss_beyond_reconstruction_db": ("dB", False),
    "parity_psnr_db": ("dB", True),
    "forced_psnr_db": ("dB", True),
    "forced_first_frame_psnr_db": ("dB", True),
    "own_past_loss_db": ("dB", False),
    "own_past_slope_db_per_segment": ("dB", True),
    "given_psnr_db": ("dB", True),
    "noise_loss_db": ("dB", False),
    "noise_loss_left_db": ("dB", False),
    "blur_loss_db": ("dB", False),
    "blur_loss_left_db": ("dB", False),
    "estimate_loss_db": ("dB", False),
    "estimate_loss_left_db": ("dB", False),
}
