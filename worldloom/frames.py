"""Frame arithmetic: pixel frames, latent frames, segments. The only place that knows 4n+1.

A causal video VAE of temporal stride 4 maps frame 0 to latent 0 alone and every further group of
four frames to one latent: F = 1 + 4 (T - 1). Two ways of cutting a world into segments:

* stream: latent 0 is the start image, then segments of `segment_latents` new latents each;
* reference (Matrix-Game 3.0): a first segment of 15 latents (57 frames), then windows of 14
  latents (56 frames) that step by 10 latents (40 frames), so 4 past and 10 new latents.

It does not know what a latent holds.
"""

from __future__ import annotations

TEMPORAL_STRIDE = 4
REFERENCE_FIRST_FRAMES = 57
REFERENCE_WINDOW_FRAMES = 56
REFERENCE_NEW_FRAMES = 40


def num_latent_frames(num_frames: int) -> int:
    """Return the latents that `num_frames` pixel frames become; frames must be 4n+1."""
    if num_frames < 1 or (num_frames - 1) % TEMPORAL_STRIDE:
        message = f"num_frames={num_frames}: expected 4n+1 frames (1, 5, 9, ...)"
        raise ValueError(message)
    return 1 + (num_frames - 1) // TEMPORAL_STRIDE


def num_pixel_frames(latent_frames: int) -> int:
    """Return the pixel frames that `latent_frames` latents decode to, from the first on."""
    if latent_frames < 1:
        message = f"latent_frames={latent_frames}: expected at least 1"
        raise ValueError(message)
    return 1 + TEMPORAL_STRIDE * (latent_frames - 1)


def latent_of_frame(frame_index: int) -> int:
    """Return the latent that holds a pixel frame: (f - 1) // 4 + 1, and 0 for frame 0."""
    return 0 if frame_index == 0 else (frame_index - 1) // TEMPORAL_STRIDE + 1


def last_frame_of_latent(latent_index: int) -> int:
    """Return the last pixel frame of a latent; its pose stands for the latent."""
    return TEMPORAL_STRIDE * latent_index


def frames_of_latents(start_latent: int, num_latents: int) -> range:
    """Return the pixel frames of `num_latents` latents from `start_latent` on."""
    first = 0 if start_latent == 0 else TEMPORAL_STRIDE * (start_latent - 1) + 1
    return range(first, TEMPORAL_STRIDE * (start_latent + num_latents - 1) + 1)


def longest_causal_length(num_frames: int) -> int:
    """Return the largest 4n+1 not above `num_frames`."""
    return num_pixel_frames(1 + (num_frames - 1) // TEMPORAL_STRIDE)
