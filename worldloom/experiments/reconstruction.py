"""What the autoencoder alone makes of a recording, and a film beside that.

No film can be better than its decoder: figures here tell what is the decoder's and what is the
transformer's. It does not know walks, arms' settings or tables.
"""

from __future__ import annotations

import numpy as np
import torch

from worldloom.arrays import FloatArray
from worldloom.evaluate.drift import loss_between, segment_means
from worldloom.evaluate.video_quality import Frames, psnr_db, sharpness_ratio
from worldloom.experiments.figures import DRIFT_SEGMENTS, Values, evenly
from worldloom.experiments.networks import BuiltArm
from worldloom.experiments.walks import films
from worldloom.train.vae_windows import to_video

# A recording is encoded at once, so a long one has no figure.
_MOST_FRAMES = 400

FIGURES_OF_RECONSTRUCTION = (
    "reconstruction_psnr_db",
    "reconstruction_sharpness_ratio",
    "sharpness_over_reconstruction",
    "loss_beyond_reconstruction_db",
)


def reconstruction_figures(
    built: BuiltArm,
    film: Frames,
    recorded: Frames,
    *,
    first: int,
    segment_frames: int,
    most_judged_frames: int,
) -> Values:
    """Return figures of a recording that was encoded and decoded, and of a film beside it.

    Args:
        built: the arm; its decoder decodes.
        film: uint8 [F, H, W, 3], what the arm made of the walk.
        recorded: the recording of the same walk.
        first: the first frame that the arm made.
        segment_frames: frames of a segment.
        most_judged_frames: frames whose sharpness is compared, evenly spread.
    """
    rebuilt = _rebuilt(built, recorded)
    if rebuilt is None:
        return dict.fromkeys(FIGURES_OF_RECONSTRUCTION)
    judged = evenly(np.arange(first, len(film)), most_judged_frames)
    most = psnr_db(rebuilt, recorded)
    made, allowed = (
        _loss(values[first:], segment_frames) for values in (psnr_db(film, recorded), most)
    )
    return {
        "reconstruction_psnr_db": float(most.mean()),
        "reconstruction_sharpness_ratio": sharpness_ratio(rebuilt[judged], recorded[judged]),
        "sharpness_over_reconstruction": sharpness_ratio(film[judged], rebuilt[judged]),
        "loss_beyond_reconstruction_db": (
            None if made is None or allowed is None else made - allowed
        ),
    }


def _loss(psnr: FloatArray, segment_frames: int) -> float | None:
    return loss_between(segment_means(psnr, segment_frames), *DRIFT_SEGMENTS)


@torch.inference_mode()
def _rebuilt(built: BuiltArm, frames: Frames) -> Frames | None:
    if len(frames) > _MOST_FRAMES:
        return None
    latents = built.vae.encode(to_video(frames).to(built.model.device))
    return films(built.model, latents.transpose(1, 2))[0]
