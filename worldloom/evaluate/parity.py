"""How far a compressed model is from the one it was made of, on the same inputs and noise.

Cosine and relative error of latents, PSNR of frames. It does not know how a model is compressed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldloom.evaluate.parity_report import ParityReport, read_parity, write_parity
from worldloom.evaluate.video_quality import Frames, psnr_db

__all__ = ["ParityReport", "compare_latents", "measure_parity", "read_parity", "write_parity"]


def compare_latents(candidate: Tensor, reference: Tensor) -> tuple[float, float]:
    """Return (cosine, relative error) of two latent tensors of one shape.

    Raises:
        ValueError: for two shapes, values that are not finite or a reference of zeros.
    """
    if candidate.shape != reference.shape:
        message = f"latents {list(candidate.shape)} against {list(reference.shape)}: expected equal"
        raise ValueError(message)
    first, second = candidate.double().flatten(), reference.double().flatten()
    norm = float(second.norm())
    if norm == 0 or not bool(torch.isfinite(first).all()):
        message = f"latents with norm {norm}: expected finite values and a reference above 0"
        raise ValueError(message)
    cosine = float(torch.dot(first, second)) / max(float(first.norm()) * norm, 1e-30)
    return max(-1.0, min(1.0, cosine)), float((first - second).norm()) / norm


def measure_parity(
    *,
    latents: Tensor,
    reference_latents: Tensor,
    frames: Frames,
    reference_frames: Frames,
    weight_bytes_ratio: float = 1.0,
) -> ParityReport:
    """Return the parity report of a compressed model's outputs against the original's."""
    cosine, error = compare_latents(latents, reference_latents)
    return ParityReport(
        latent_cosine=cosine,
        latent_relative_error=error,
        frame_psnr_db=float(psnr_db(frames, reference_frames).mean()),
        num_frames=len(frames),
        weight_bytes_ratio=weight_bytes_ratio,
    )
