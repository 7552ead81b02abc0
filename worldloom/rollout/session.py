"""A session: one player's walk, segment by segment.

Latents, poses and actions are the truth; keys, values and the decoder's cache follow from them, so
a session is stored and resumed by that truth alone and goes on with the same frames. Noise of
segment i depends on (seed, i) only. It does not know transports, slots or deadlines.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldloom.actions import Actions
from worldloom.camera import Intrinsics, Kinematics, integrate_poses, pose_matrix
from worldloom.diffusion.solver import solve
from worldloom.errors import DataError
from worldloom.frames import TEMPORAL_STRIDE
from worldloom.memory.bank import MemoryBank
from worldloom.memory.retrieval import RetrievalConfig, retrieve
from worldloom.model.text_encoder import tokenize
from worldloom.model.transformer import Context, WorldModelTransformer
from worldloom.model.vae import DecoderCache, VAEDecoder, VAEEncoder
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner, action_windows, past_indices

Frames = NDArray[np.uint8]
FloatArray = NDArray[np.float64]


@dataclass
class WorldModel:
    """The networks and settings that sessions share."""

    transformer: WorldModelTransformer
    encoder: VAEEncoder
    decoder: VAEDecoder
    conditioner: Conditioner
    sampler: SamplerConfig
    retrieval: RetrievalConfig
    kinematics: Kinematics
    intrinsics: Intrinsics
    frame_size: tuple[int, int]

    @property
    def segment_frames(self) -> int:
        """Pixel frames of one segment."""
        return self.transformer.config.segment_frames


@dataclass
class SessionState:
    """The truth of a session: what it takes to go on with the same frames."""

    latents: list[Tensor] = field(default_factory=list)  # each [C, H, W]
    poses: list[FloatArray] = field(default_factory=list)  # each latent's [4, 4]
    keyboard: list[NDArray[np.float32]] = field(default_factory=list)  # each [frames, keys]
    mouse: list[NDArray[np.float32]] = field(default_factory=list)  # each [frames, axes]


def image_to_video(image: Frames, frame_size: tuple[int, int]) -> Tensor:
    """Return an image uint8 [H, W, 3] as a one-frame video [1, 3, 1, H, W] in [-1, 1].

    Raises:
        DataError: for another type or size.
    """
    expected = (*frame_size, 3)
    if image.dtype != np.uint8 or image.shape != expected:
        message = f"start image: {image.dtype} {list(image.shape)}, expected uint8 {list(expected)}"
        raise DataError(message)
    pixels = torch.from_numpy(image.astype(np.float32) / 127.5 - 1)
    return pixels.permute(2, 0, 1)[None, :, None]


def video_to_frames(video: Tensor) -> Frames:
    """Return frames uint8 [F, H, W, 3] of a video [1, 3, F, H, W] in [-1, 1]."""
    pixels = ((video[0].float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 3, 0).cpu().numpy()


class WorldSession:
    """A walk through one world."""

    def __init__(
        self,
        model: WorldModel,
        *,
        image: Frames,
        prompt: str,
        seed: int,
        memory: bool = True,
        pitch_radians: float = 0.0,
    ) -> None:
        """Begin at a start image; raises `DataError` if it does not fit.

        Args:
            memory: False leaves only the recent past in view (for ablations).
        """
        self._begin(model, prompt, seed, memory=memory)
        pose = pose_matrix(np.zeros(3), 0.0, pitch_radians)
        with torch.inference_mode():
            latent = model.encoder(image_to_video(image, model.frame_size))[0]
            keyboard = np.zeros((1, 6), np.float32)
            mouse = np.zeros((1, 2), np.float32)
            self.first_frame = self._take(latent, pose[None], keyboard, mouse)[0]

    @classmethod
    def resume(
        cls, model: WorldModel, state: SessionState, *, prompt: str, seed: int, memory: bool = True
    ) -> WorldSession:
        """Return a session that goes on from a stored state, recomputing all that follows."""
        session = cls.__new__(cls)
        session._begin(model, prompt, seed, memory=memory)  # noqa: SLF001
        latents = 0
        with torch.inference_mode():
            for keyboard, mouse in zip(state.keyboard, state.mouse, strict=True):
                count = max(1, len(keyboard) // TEMPORAL_STRIDE)
                chunk = torch.stack(state.latents[latents : latents + count], dim=1)[None]
                poses = np.stack(state.poses[latents : latents + count])
                frames = session._take(chunk, poses, keyboard, mouse)  # noqa: SLF001
                if not latents:
                    session.first_frame = frames[0]
                latents += count
        return session

    def _begin(self, model: WorldModel, prompt: str, seed: int, *, memory: bool) -> None:
        config = model.transformer.config
        self.model = model
        self.seed = seed
        self.memory = memory
        self.state = SessionState()
        self.bank = MemoryBank()
        self._decoder_cache: DecoderCache | None = None
        self._tokens = tokenize([prompt], config.text_vocabulary, config.text_length)

    @property
    def segment_index(self) -> int:
        """Segments generated so far, which is the number of the next one."""
        return len(self.state.keyboard) - 1

    @property
    def num_frames(self) -> int:
        """Frames generated so far, the start frame included."""
        return 1 + TEMPORAL_STRIDE * (len(self.bank) - 1)

    @property
    def pose(self) -> FloatArray:
        """The camera's current c2w pose [4, 4]."""
        return self.state.poses[-1]

    def generate_segment(self, actions: Actions, poses: FloatArray | None = None) -> Frames:
        """Generate the frames uint8 [F, H, W, 3] that follow from a segment's actions.

        Args:
            actions: as many frames as a segment has.
            poses: c2w [F, 4, 4] in the session's frame, where they are known; integrated from the
                actions otherwise.

        Raises:
            DataError: when the number of actions is not that of a segment.
        """
        expected = self.model.segment_frames
        if len(actions) != expected:
            message = f"actions: {len(actions)} frames, expected the {expected} of a segment"
            raise DataError(message)
        if poses is None:
            keyboard, mouse = actions.keyboard.astype(float), actions.mouse.astype(float)
            poses = integrate_poses(self.pose, keyboard, mouse, self.model.kinematics)
        latent_poses = poses[TEMPORAL_STRIDE - 1 :: TEMPORAL_STRIDE]
        with torch.inference_mode():
            latents = self._denoise(latent_poses, actions)
            return self._take(latents, latent_poses, actions.keyboard, actions.mouse)

    def _denoise(self, poses: FloatArray, actions: Actions) -> Tensor:
        transformer, conditioner = self.model.transformer, self.model.conditioner
        config = transformer.config
        context = self._context(poses)
        start = len(self.bank)
        windows = self._windows(start, len(poses), actions.keyboard, actions.mouse)
        generator = torch.Generator().manual_seed(_segment_seed(self.seed, self.segment_index))
        shape = (1, config.latent_channels, len(poses), config.latent_height, config.latent_width)
        segment_poses = torch.from_numpy(poses).float()[None]
        anchor = self.bank.poses[-1][None]

        def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
            segment = conditioner.noisy(noisy, sigma, segment_poses, anchor, windows, self._tokens)
            return transformer.denoise(segment, context)

        assert start, "a session has a start image"
        return solve(
            velocity,
            torch.randn(shape, generator=generator),
            torch.tensor([*self.model.sampler.sigmas, 0.0]),
            self.model.sampler.solver,
            generator,
        )

    def _context(self, poses: FloatArray) -> Context:
        config = self.model.transformer.config
        start = len(self.bank)
        past = past_indices(start, config.num_past_latents)
        chosen = self._recall(poses, past[0]) + past
        ages = torch.tensor([[start - index for index in chosen]])
        return self.model.conditioner.context(
            self.bank.gather(chosen),
            self.bank.pose_array()[chosen][None],
            self.bank.poses[-1][None],
            ages,
            torch.ones(1, len(chosen), dtype=torch.bool),
        )

    def _recall(self, poses: FloatArray, num_candidates: int) -> list[int]:
        if not self.memory or not num_candidates:
            return []
        return retrieve(
            poses,
            np.stack(self.state.poses[:num_candidates]),
            self.model.transformer.config.num_memory_latents,
            self.model.retrieval,
            self.model.intrinsics,
        )

    def _take(
        self,
        latents: Tensor,
        poses: FloatArray,
        keyboard: NDArray[np.float32],
        mouse: NDArray[np.float32],
    ) -> Frames:
        """Commit latents [1, C, T, H, W] and decode the frames that they add."""
        windows = self._windows(len(self.bank), len(poses), keyboard, mouse)
        by_latent = latents[0].transpose(0, 1)
        pose_tensor = torch.from_numpy(np.asarray(poses)).float()
        committed = self.model.transformer.commit(
            self.model.conditioner.clean(
                by_latent,
                pose_tensor,
                windows[0][0],
                windows[1][0],
                self._tokens.expand(len(by_latent), -1),
            )
        )
        for index, (latent, pose) in enumerate(zip(by_latent, pose_tensor, strict=True)):
            keys_values = [block.row(index) for block in committed]
            self.bank.append(latent, pose, keys_values)
        self.state.latents.extend(by_latent)
        self.state.poses.extend(np.asarray(poses))
        self.state.keyboard.append(keyboard)
        self.state.mouse.append(mouse)
        video, self._decoder_cache = self.model.decoder(latents, self._decoder_cache)
        return video_to_frames(video)

    def _windows(
        self,
        start: int,
        count: int,
        keyboard: NDArray[np.float32],
        mouse: NDArray[np.float32],
    ) -> tuple[Tensor, Tensor]:
        """Return the action windows [1, T, W, A] of latents start .. start + count."""
        frames = self.model.transformer.config.action_window_frames
        at = torch.arange(start, start + count)[None]
        both = []
        for history, new in ((self.state.keyboard, keyboard), (self.state.mouse, mouse)):
            actions = torch.from_numpy(np.concatenate([*history, new]))[None]
            both.append(action_windows(actions, at, frames))
        return both[0], both[1]


def _segment_seed(seed: int, segment_index: int) -> int:
    digest = hashlib.sha256(f"{seed}/{segment_index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
