"""Lists of noise levels as plain numbers: where a sampler stops, and what the model is told there.

sigma in [0, 1] is what solvers count in; timestep in [0, 1000] is what the reference's network
reads. A shift s moves levels towards noise: sigma' = s sigma / (1 + (s - 1) sigma). Two lists of
Matrix-Game 3.0: the sampler's own, whose timesteps are truncated to whole numbers, and the warped
list of few ids that students of its family are trained at. It imports no torch, so that a
pipeline can be configured with it, and it knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

NUM_TRAIN_TIMESTEPS = 1000
REFERENCE_SHIFT = 5.0
REFERENCE_DENOISING_IDS = (1000, 667, 333)
_HIGHEST_TRAINED = 0.9990000128746033  # 0.999 as the reference keeps it, in float32


@dataclass(frozen=True)
class NoiseLevels:
    """Where a sampler asks the model.

    Attributes:
        sigmas: S + 1 falling levels in [0, 1], the last one 0.
        timesteps: What the model is told at the first S of them, in [0, 1000].
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]


def shift_level(sigma: float, timestep_shift: float) -> float:
    """Return one level moved towards noise by a shift."""
    return timestep_shift * sigma / (1 + (timestep_shift - 1) * sigma)


def sampler_levels(
    num_inference_steps: int, timestep_shift: float = REFERENCE_SHIFT
) -> NoiseLevels:
    """Return the levels of the reference's sampler (flow-matching UniPC).

    Its table of training levels is 0.999, 0.998 ... 0, not shifted; levels are spread evenly from
    the first entry of that table down to (and without) its last, then shifted once. The network
    reads floor(1000 sigma), the solver sigma itself. Three steps at shift 5 read 999, 908, 713.

    Raises:
        ValueError: for fewer than one step or a shift that is not positive.
    """
    _require_shift(timestep_shift)
    if num_inference_steps < 1:
        message = f"num_inference_steps={num_inference_steps}: expected at least 1"
        raise ValueError(message)
    remaining = [1 - step / num_inference_steps for step in range(num_inference_steps)]
    sigmas = [shift_level(_HIGHEST_TRAINED * share, timestep_shift) for share in remaining]
    timesteps = [float(int(NUM_TRAIN_TIMESTEPS * sigma)) for sigma in sigmas]
    return NoiseLevels((*sigmas, 0.0), tuple(timesteps))


def warped_levels(
    ids: Sequence[int] = REFERENCE_DENOISING_IDS, timestep_shift: float = REFERENCE_SHIFT
) -> NoiseLevels:
    """Return the levels of a few-step list: ids in (0, 1000], warped by the shift.

    The model is told 1000 sigma, unrounded; 1000, 667, 333 at shift 5 are 1000, 909.2, 714.0.

    Raises:
        ValueError: for ids that do not fall within (0, 1000] or a shift that is not positive.
    """
    _require_shift(timestep_shift)
    is_falling = all(a > b for a, b in pairwise(ids))
    if not ids or not is_falling or ids[0] > NUM_TRAIN_TIMESTEPS or ids[-1] <= 0:
        message = f"ids={list(ids)}: expected falling timesteps in (0, {NUM_TRAIN_TIMESTEPS}]"
        raise ValueError(message)
    sigmas = [shift_level(value / NUM_TRAIN_TIMESTEPS, timestep_shift) for value in ids]
    return NoiseLevels((*sigmas, 0.0), tuple(NUM_TRAIN_TIMESTEPS * sigma for sigma in sigmas))


def _require_shift(timestep_shift: float) -> None:
    if not timestep_shift > 0:
        message = f"timestep_shift={timestep_shift}: expected a positive number"
        raise ValueError(message)
