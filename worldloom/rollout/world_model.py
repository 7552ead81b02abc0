"""What sessions share: the networks, the sampler, the camera; and pixels in and out of them.

It does not know a session's state.

Letters: F frames, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from worldloom.actions import Actions
from worldloom.arrays import ByteArray, FloatArray
from worldloom.camera import Intrinsics, Kinematics, integrate_poses, require_rigid
from worldloom.diffusion.schedule import sigma_to_timestep, timestep_to_sigma
from worldloom.errors import ConfigError, DataError
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.cover import Cover, greedy_cover_in_torch
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.text.text_encoder import tokenize
from worldloom.model.transformer import (
    Context,
    Latents,
    PreparedSegment,
    SegmentConditions,
    Sigma,
)
from worldloom.model.vae.video_vae import DecoderCache, VAEDecoder, VAEEncoder
from worldloom.model.vae.wan_vae import WanVAEDecoder, WanVAEEncoder
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.host_copy import HostCopy, beside
from worldloom.rollout.segment import Conditioner

Frames = UInt8[ByteArray, "*frames Y X 3"]

_MOST_LATENTS_DECODED_AT_ONCE = 5
StartImage = Shaped[ByteArray, "..."]
"""An image from outside, of any shape until `image_to_video` has checked it."""
GivenPoses = Float[FloatArray, "..."]
"""Poses from outside, of any shape until `require_rigid` has checked them."""


@runtime_checkable
class PromptEmbedder(Protocol):
    """What embeds prompts for a transformer that reads umT5 (`text.prompt_encoder`)."""

    def encode(self, prompts: Sequence[str]) -> tuple[Float[Tensor, "B 512 E"], Int[Tensor, " B"]]:
        """Return embeddings, zero after each prompt's end, and the lengths."""


@runtime_checkable
class Network(Protocol):
    """The passes of a transformer that a session needs (`model.transformer` says what they do).

    `WorldModelTransformer` has them, and so has what runs its weights fast
    (`realtime.fast_transformer`).
    """

    config: TransformerConfig

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that tokens are computed in."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def prepare(self, conditions: SegmentConditions) -> PreparedSegment:
        """Work out what every denoising step of a segment shares."""

    def placed(self, context: Context) -> Context:
        """Return a context whose places are worked out, for all denoising steps of a segment."""

    def denoise(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedSegment,
        context: Context | None = None,
    ) -> Latents:
        """Return the velocity of latents whose noise levels are sigma."""

    def commit(
        self, latents: Latents, prepared: PreparedSegment, context: Context | None = None
    ) -> list[BlockContext]:
        """Return the un-rotated keys and values of clean latents, block by block."""


@runtime_checkable
class KeepingNetwork(Network, Protocol):
    """A network whose denoising steps can leave keys and values behind."""

    def denoise_and_keep(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedSegment,
        context: Context | None = None,
    ) -> tuple[Latents, list[BlockContext]]:
        """Return the velocity, and the un-rotated keys and values of the latents as they came."""


@dataclass
class WorldModel:
    """The networks and settings that sessions share."""

    transformer: Network
    encoder: VAEEncoder | WanVAEEncoder
    decoder: VAEDecoder | WanVAEDecoder
    conditioner: Conditioner
    sampler: SamplerConfig
    retrieval: RetrievalConfig
    kinematics: Kinematics
    intrinsics: Intrinsics
    prompt_encoder: PromptEmbedder | None = None  # where prompts are umT5 embeddings
    bank: BankConfig = field(default_factory=BankConfig)
    spill_folder: Path | None = None  # where sessions keep what leaves memory; None: temporary
    decode_stream: torch.cuda.Stream | None = None  # where frames are decoded; None: in between
    cover: Cover = greedy_cover_in_torch  # what chooses memory
    cached_latents: int = 12  # whose keys and values a session keeps for when they become memory
    commits_last_step: bool = False  # keys and values are those of the last denoising step

    def encode_prompt(self, prompt: str) -> Shaped[Tensor, "1 words *width"]:
        """Return what the transformer reads of a prompt: token numbers, or embeddings."""
        config = self.transformer.config
        if config.text == "learned":
            tokens = tokenize([prompt], config.text_vocabulary, config.text_length)
            return tokens.to(self.device)
        if self.prompt_encoder is None:
            message = (
                f"prompt {prompt!r}: the model reads umT5 embeddings and no prompt encoder was "
                "given, expected one (`load_prompt_encoder`)"
            )
            raise ConfigError(message)
        embeds, _ = self.prompt_encoder.encode([prompt])
        return embeds.to(self.device)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of a frame, pixels."""
        return self.transformer.config.frame_size

    @property
    def segment_frames(self) -> int:
        """Pixel frames of one segment after the first."""
        return self.transformer.config.segment_frames

    @property
    def device(self) -> torch.device:
        """Where the transformer computes."""
        return self.transformer.device

    @property
    def decoder_device(self) -> torch.device:
        """Where frames are decoded, which may be another GPU."""
        return next(self.decoder.parameters()).device


def image_to_video(image: StartImage, frame_size: tuple[int, int]) -> Float[Tensor, "1 3 1 H W"]:
    """Return an image uint8 [H, W, 3] as a one-frame video in [-1, 1].

    Raises:
        DataError: for another type or size.
    """
    expected = (*frame_size, 3)
    if image.dtype != np.uint8 or image.shape != expected:
        message = f"start image: {image.dtype} {list(image.shape)}, expected uint8 {list(expected)}"
        raise DataError(message)
    pixels = torch.from_numpy(image.astype(np.float32) / 127.5 - 1)
    return pixels.permute(2, 0, 1)[None, :, None]


def pixels_of(video: Float[Tensor, "1 3 F H W"]) -> UInt8[Tensor, "F H W 3"]:
    """Return the frames of a video in [-1, 1], where the video is."""
    pixels = ((video[0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 3, 0).contiguous()


def video_to_frames(video: Float[Tensor, "1 3 F H W"]) -> Frames:
    """Return the frames uint8 [F, H, W, 3] of a video in [-1, 1]."""
    return pixels_of(video).cpu().numpy()


class PendingFrames:
    """Frames uint8 [F, H, W, 3] that a device is still decoding."""

    def __init__(self, chunks: list[HostCopy]) -> None:
        """Take the chunks that are on their way."""
        self._chunks = chunks

    @property
    def are_there(self) -> bool:
        """Tell whether `wait` would return at once."""
        return all(chunk.is_there for chunk in self._chunks)

    def wait(self) -> Frames:
        """Return the frames once they are on the host."""
        chunks = [chunk.wait().numpy() for chunk in self._chunks]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def latents_decoded_at_once(config: TransformerConfig) -> int:
    """Return into how many latents a segment's are cut for the decoder, so that all cuts are alike.

    A window of the published model at once would need more memory than its transformer.
    """
    latents = config.segment_latents
    most = min(latents, _MOST_LATENTS_DECODED_AT_ONCE)
    return next(count for count in range(most, 0, -1) if not latents % count)


def decode(
    model: WorldModel, latents: Latents, cache: DecoderCache | None
) -> tuple[PendingFrames, DecoderCache]:
    """Begin to decode the frames that new latents add; return them and the cache for the next.

    On a GPU nobody waits: it happens on the model's decoding stream, behind what makes the latents
    and beside whatever comes next.
    """
    chunks = []
    with beside(model.decode_stream, latents):
        latents = latents.to(model.decoder_device, non_blocking=True)
        for chunk in latents.split(latents_decoded_at_once(model.transformer.config), dim=2):
            video, cache = model.decoder(chunk, cache)
            chunks.append(HostCopy(pixels_of(video)))
    assert cache is not None, "there are latents to decode"
    return PendingFrames(chunks), cache


def restore_decoder(
    model: WorldModel, latents: Float[Tensor, "L C H W"]
) -> tuple[Frames, DecoderCache]:
    """Return a session's first frame [H, W, 3], and the features that its decoder remembers.

    Only the latents that a decoder can look back on are decoded again.
    """
    with beside(model.decode_stream, latents):
        latents = latents.to(model.decoder_device, non_blocking=True)
        video, _ = model.decoder(latents[:1].transpose(0, 1)[None])
        first = HostCopy(pixels_of(video))
        recent = latents[-(1 + model.decoder.num_past_latents) :]
        _, cache = model.decoder(recent.transpose(0, 1)[None])
    frame: Frames = first.wait().numpy()[0]
    return frame, cache


def followed_poses(
    model: WorldModel,
    pose: Float[FloatArray, "4 4"],
    actions: Actions,
    num_frames: int,
    given: GivenPoses | None,
) -> Float[FloatArray, "F 4 4"]:
    """Return the c2w poses [F, 4, 4] of the next segment: those given, or integrated from `pose`.

    Raises:
        DataError: when there are not as many actions as the segment has frames, or a pose is not
            rigid.
    """
    if len(actions) != num_frames:
        message = f"actions: {len(actions)} frames, expected the {num_frames} of a segment"
        raise DataError(message)
    if given is None:
        keyboard, mouse = actions.keyboard.astype(float), actions.mouse.astype(float)
        given = integrate_poses(pose, keyboard, mouse, model.kinematics)
    require_rigid(given)
    return given


def segment_generator(seed: int, segment_index: int) -> torch.Generator:
    """Return the generator of a segment's noise, a function of the seed and its number."""
    digest = hashlib.sha256(f"{seed}/{segment_index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def told_sigma(sigma: Float[Tensor, " B"], sampler: SamplerConfig) -> Float[Tensor, " B"]:
    """Return the noise levels as the model is told them, whole timesteps if the sampler says so."""
    if not sampler.truncates_timesteps:
        return sigma
    return timestep_to_sigma(sigma_to_timestep(sigma, is_truncated=True))
