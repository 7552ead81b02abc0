"""JPEG frames to pixels; needs the extra `images`."""

from worldloom_client.client.decode import decode_frames, decode_jpeg

__all__ = ["decode_frames", "decode_jpeg"]
