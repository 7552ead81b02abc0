"""Frame arithmetic: pixel frames, latent frames, segments. The only place that knows 4n+1.

A causal video VAE of temporal stride 4 maps frame 0 to latent 0 alone and every further group of
four frames to one latent: F = 1 + 4 (T - 1). Two ways of cutting a world into segments:

* stream: latent 0 is the start image, then segments of `segment_latents` new latents each;
* reference (Matrix-Game 3.0): a first segment of 15 latents (57 frames), then windows of 14
  latents (56 frames) that step by 10 latents (40 frames), so 4 past and 10 new latents.

`segment_table` lists either as records. It does not know what a latent holds.
"""

from __future__ import annotations

from dataclasses import dataclass

TEMPORAL_STRIDE = 4
REFERENCE_FIRST_FRAMES = 57
REFERENCE_WINDOW_FRAMES = 56
REFERENCE_NEW_FRAMES = 40
REFERENCE_QUERY_OFFSETS = (1, 9, 17, 25, 33)
ACTION_WINDOW_FRAMES = 12


@dataclass(frozen=True)
class SegmentFrames:
    """Where a segment lies, in pixel frames and latents; all indices are absolute.

    Attributes:
        segment_index: Which segment, from 0.
        start_frame: First frame of its window; in the reference the window begins with 16 frames
            of the past (4 latents), in a stream with the first new frame.
        end_frame: The frame after its last one (exclusive).
        first_latent: First latent of its window.
        last_latent: Last latent of its window (inclusive).
        num_new_frames: Frames that it adds, at the window's end. The reference's first segment
            counts the start image.
        memory_query_frames: Frames for whose poses memory is retrieved, in the order of the slots.
        action_slice_of_last_latent: (first, last) frame, both inclusive, of the actions that the
            last latent reads. A negative frame stands for the first one.
    """

    segment_index: int
    start_frame: int
    end_frame: int
    first_latent: int
    last_latent: int
    num_new_frames: int
    memory_query_frames: tuple[int, ...]
    action_slice_of_last_latent: tuple[int, int]

    @property
    def new_latents(self) -> range:
        """The latents that it adds; the others of its window were there before."""
        return range(latent_of_frame(self.end_frame - self.num_new_frames), self.last_latent + 1)


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


def reference_action_slice(latent_index: int, *, is_first_segment: bool) -> tuple[int, int]:
    """Return the (first, last) frame, inclusive, whose actions a latent reads in the reference.

    4L - 12 .. 4L - 1 in the first segment and 4L - 11 .. 4L in later ones: its padding differs by
    a frame between 4n + 1 and 4n frames. Rows are the reference's own, where row f moves the
    camera from frame f to f + 1; ours moves it from f - 1 to f.
    """
    last = TEMPORAL_STRIDE * latent_index - (1 if is_first_segment else 0)
    return last - ACTION_WINDOW_FRAMES + 1, last


def reference_segment(segment_index: int) -> SegmentFrames:
    """Return a segment of Matrix-Game 3.0: window, new frames, queries and actions.

    Raises:
        ValueError: for a negative index.
    """
    _require_index(segment_index)
    is_first = segment_index == 0
    end = REFERENCE_FIRST_FRAMES + REFERENCE_NEW_FRAMES * segment_index
    start = 0 if is_first else end - REFERENCE_WINDOW_FRAMES
    last_latent = latent_of_frame(end - 1)
    return SegmentFrames(
        segment_index=segment_index,
        start_frame=start,
        end_frame=end,
        first_latent=latent_of_frame(start),
        last_latent=last_latent,
        num_new_frames=REFERENCE_FIRST_FRAMES if is_first else REFERENCE_NEW_FRAMES,
        memory_query_frames=()
        if is_first
        else tuple(end - offset for offset in REFERENCE_QUERY_OFFSETS),
        action_slice_of_last_latent=reference_action_slice(last_latent, is_first_segment=is_first),
    )


def stream_segment(
    segment_index: int, segment_latents: int, action_window_frames: int = ACTION_WINDOW_FRAMES
) -> SegmentFrames:
    """Return a segment of a stream: latent 0 is the start image and belongs to no segment.

    Memory is queried for the last frame of each new latent. Latent L reads the actions of frames
    4L - W + 1 .. 4L for a window of W frames.

    Raises:
        ValueError: for a negative index, or a segment or an action window that is empty.
    """
    _require_index(segment_index)
    for name, value in (
        ("segment_latents", segment_latents),
        ("action_window_frames", action_window_frames),
    ):
        if value < 1:
            message = f"{name}={value}: expected at least 1"
            raise ValueError(message)
    first = 1 + segment_index * segment_latents
    new_frames = frames_of_latents(first, segment_latents)
    latents = range(first, first + segment_latents)
    last_action = last_frame_of_latent(latents[-1])
    return SegmentFrames(
        segment_index=segment_index,
        start_frame=new_frames.start,
        end_frame=new_frames.stop,
        first_latent=latents[0],
        last_latent=latents[-1],
        num_new_frames=len(new_frames),
        memory_query_frames=tuple(last_frame_of_latent(latent) for latent in latents),
        action_slice_of_last_latent=(last_action - action_window_frames + 1, last_action),
    )


def segment_table(
    count: int,
    *,
    segment_latents: int | None = None,
    action_window_frames: int = ACTION_WINDOW_FRAMES,
) -> list[SegmentFrames]:
    """Return segments 0 to count - 1.

    Args:
        count: How many.
        segment_latents: New latents of a stream's segment; None is the reference's windows.
        action_window_frames: Frames of actions that a stream's latent reads; the reference's 12
            are fixed.

    Raises:
        ValueError: for a count below 1, or an empty segment or action window.
    """
    if count < 1:
        message = f"count={count}: expected at least 1 segment"
        raise ValueError(message)
    if segment_latents is None:
        return [reference_segment(index) for index in range(count)]
    return [stream_segment(index, segment_latents, action_window_frames) for index in range(count)]


def _require_index(segment_index: int) -> None:
    if segment_index < 0:
        message = f"segment_index={segment_index}: expected 0 or more"
        raise ValueError(message)
