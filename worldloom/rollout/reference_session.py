"""A session in the reference layout: Matrix-Game 3.0's own loop, window by window.

The first window is the image's latent and 14 new ones; every later one is 4 past latents, taken
from what was generated, and 10 new ones, beside 5 latents of memory. All of them are read at every
denoising step, in both directions, with context at noise level 0 and put back after each step. The
base model is guided: its unconditional branch has no memory, no actions and a negative prompt.

Rotary numbers count from the window's first latent, so length has no limit; attention sees
differences alone, and within the published table of 2,048 latents they are the same. The reference
reads actions a frame late: its row f moves the camera from frame f to f + 1. The row after a
segment's last frame is not known yet, so the last action is held, as its players hold a key.
It does not know transports or deadlines.

Letters: B = 1, M memory latents, T latents of a window, F frames, W frames of an action window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.actions import NUM_KEYS, Actions
from worldloom.arrays import FloatArray, SingleArray
from worldloom.camera import pose_matrix
from worldloom.diffusion.from_host import to_device
from worldloom.diffusion.guidance import guided_velocity
from worldloom.diffusion.solver import Velocity, solve
from worldloom.diffusion.solver_state import hold_first
from worldloom.errors import DataError
from worldloom.frames import (
    TEMPORAL_STRIDE,
    SegmentFrames,
    num_pixel_frames,
    reference_segment,
)
from worldloom.memory.reference import MemorySlot, retrieve_reference
from worldloom.model.transformer import PreparedSegment, SegmentConditions
from worldloom.model.vae.video_vae import DecoderCache
from worldloom.rollout.host_copy import HostCopy
from worldloom.rollout.reference_window import (
    nearest_query,
    no_action,
    relative_poses,
    require_reference_segments,
    window_actions,
)
from worldloom.rollout.truth import SessionState, SessionTruth
from worldloom.rollout.world_model import (
    Frames,
    GivenPoses,
    PendingFrames,
    StartImage,
    WorldModel,
    decode,
    followed_poses,
    image_to_video,
    restore_decoder,
    segment_generator,
    told_sigma,
)


@dataclass(frozen=True)
class _Window:
    """A window that is being generated."""

    frames: SegmentFrames
    latent_poses: FloatArray  # [T, 4, 4]
    query_poses: FloatArray  # [M, 4, 4], of the frames that memory was chosen for
    actions: SingleArray  # [F, A] of the window's frames, keys then axes
    known: Tensor  # [1, C, K, H, W], the latents that are given
    memory: list[MemorySlot]

    @property
    def num_known(self) -> int:
        """Latents that are given."""
        return self.known.shape[2]

    @property
    def num_latents(self) -> int:
        """Latents of the window, memory apart."""
        return self.frames.last_latent - self.frames.first_latent + 1


class ReferenceSession:
    """A walk through one world, as the published model walks."""

    def __init__(
        self,
        model: WorldModel,
        *,
        image: StartImage,
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
            latent = model.encoder(image_to_video(image, model.frame_size).to(model.device))[0]
            self.first_frame = self._take(latent, pose[None], Actions.still(1)).wait()[0]

    @classmethod
    def resume(
        cls, model: WorldModel, state: SessionState, *, prompt: str, seed: int, memory: bool = True
    ) -> ReferenceSession:
        """Return a session that goes on from a stored state."""
        session = cls.__new__(cls)
        session._begin(model, prompt, seed, memory=memory)  # noqa: SLF001
        with torch.inference_mode():
            session._replay(state)  # noqa: SLF001
        return session

    def snapshot(self) -> SessionState:
        """Return the truth of the session, from which `resume` goes on."""
        return replace(self.truth.snapshot(), frame_poses=np.concatenate(self._frame_poses))

    def _begin(self, model: WorldModel, prompt: str, seed: int, *, memory: bool) -> None:
        require_reference_segments(model.transformer.config)
        self.model = model
        self.seed = seed
        self.memory = memory
        self.truth = SessionTruth(
            model.transformer.config,
            model.bank,
            model.retrieval,
            model.intrinsics,
            model.spill_folder,
            model.cover,
        )
        self._frame_poses: list[FloatArray] = []
        self._decoder_cache: DecoderCache | None = None
        self._prompt = model.encode_prompt(prompt)
        self._negative_prompt = model.encode_prompt(model.sampler.negative_prompt)

    @property
    def segment_index(self) -> int:
        """Segments generated so far, which is the number of the next one."""
        config, made = self.model.transformer.config, len(self.truth)
        first = config.first_segment_latents
        return 0 if made < first else 1 + (made - first) // config.segment_latents

    @property
    def num_frames(self) -> int:
        """Frames generated so far, the start frame included."""
        return num_pixel_frames(len(self.truth))

    @property
    def segment_frames(self) -> int:
        """Frames that the next segment adds: 56 to the start image, then 40 each."""
        return reference_segment(self.segment_index).end_frame - self.num_frames

    @property
    def pose(self) -> Float[FloatArray, "4 4"]:
        """The camera's current c2w pose [4, 4]."""
        return self.truth.latest_pose

    def close(self) -> None:
        """Give up the session's files; it cannot go on."""
        self.truth.close()

    def generate_segment(self, actions: Actions, poses: GivenPoses | None = None) -> Frames:
        """Generate the frames uint8 [F, H, W, 3] that follow from a segment's actions.

        Arguments and refusals are those of `begin_segment`.
        """
        return self.begin_segment(actions, poses).wait()

    def begin_segment(self, actions: Actions, poses: GivenPoses | None = None) -> PendingFrames:
        """Generate a segment and begin to decode the frames that follow from its actions.

        Args:
            actions: as many frames as `segment_frames` says.
            poses: c2w [F, 4, 4] in the session's frame, where they are known; integrated from the
                actions otherwise.

        Raises:
            DataError: when the number of actions is not that of a segment, or a pose is not rigid.
        """
        poses = followed_poses(self.model, self.pose, actions, self.segment_frames, poses)
        with torch.inference_mode():
            window = self._window(poses, actions)
            new = self._denoise(window)
            return self._take(new, poses, actions)

    def _window(self, poses: FloatArray, actions: Actions) -> _Window:
        """Put the next window together: what is known of it, and what is to come."""
        frames = reference_segment(self.segment_index)
        known = range(frames.first_latent, len(self.truth))
        rows = np.concatenate([actions.keyboard, actions.mouse], axis=1)
        before = self.truth.actions(known)[-(frames.end_frame - frames.start_frame - len(rows)) :]
        past = self.truth.poses(known)
        new = poses[TEMPORAL_STRIDE - 1 :: TEMPORAL_STRIDE]
        memory = self._choose_memory(frames, poses)
        queries = [poses[slot.query_frame - self.num_frames] for slot in memory]
        return _Window(
            frames=frames,
            latent_poses=np.concatenate([past, new]),
            query_poses=np.stack(queries) if queries else np.zeros((0, 4, 4)),
            actions=np.concatenate([before, rows]),
            known=to_device(self.truth.latents(known), self.model.device),
            memory=memory,
        )

    def _choose_memory(self, frames: SegmentFrames, poses: FloatArray) -> list[MemorySlot]:
        """Return the past latents that a window sees, each with the frame it is seen from."""
        if not self.memory or not frames.memory_query_frames:
            return []
        if self.model.retrieval.method == "reference":
            every_pose = np.concatenate([*self._frame_poses, poses])
            return retrieve_reference(every_pose, frames.start_frame, frames.end_frame)
        queries = np.stack([poses[f - self.num_frames] for f in frames.memory_query_frames])
        num = self.model.transformer.config.num_memory_latents
        chosen = self.truth.retrieve(queries, num, frames.first_latent)
        chosen_poses = self.truth.poses(chosen)
        return nearest_query(chosen, chosen_poses, frames.memory_query_frames, queries)

    def _denoise(self, window: _Window) -> Tensor:
        """Return the window's new latents [1, C, T - K, H, W]."""
        config, sampler = self.model.transformer.config, self.model.sampler
        memory = self.truth.latents([slot.latent_index for slot in window.memory])
        velocity = self._velocity(
            self.model.transformer.prepare(self._conditions(window, is_conditional=True)),
            window,
            to_device(memory, self.model.device),
        )
        if sampler.guidance_scale != 1:
            free = self.model.transformer.prepare(self._conditions(window, is_conditional=False))
            velocity = guided_velocity(
                velocity, self._velocity(free, window, memory[:, :, :0]), sampler.guidance_scale
            )
        generator = segment_generator(self.seed, self.segment_index)
        shape = (
            1,
            config.latent_channels,
            window.num_latents,
            config.latent_height,
            config.latent_width,
        )
        made = solve(
            velocity,
            to_device(torch.randn(shape, generator=generator), self.model.device),
            torch.tensor([*sampler.sigmas, 0.0]),
            sampler.solver,
            generator,
            reimpose=hold_first(window.known),
        )
        return made[:, :, window.num_known :]

    def _velocity(self, prepared: PreparedSegment, window: _Window, memory: Tensor) -> Velocity:
        """Return the velocity of a window's latents; memory and known ones are clean."""
        num_clean = memory.shape[2] + window.num_known
        count = memory.shape[2] + window.num_latents

        def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
            told = told_sigma(sigma, self.model.sampler)[:, None].repeat(1, count)
            told[:, :num_clean] = 0
            latents = torch.cat([memory.to(noisy), noisy], dim=2)
            whole = self.model.transformer.denoise(latents, told, prepared)
            return whole[:, :, memory.shape[2] :].float()

        return velocity

    def _conditions(self, window: _Window, *, is_conditional: bool) -> SegmentConditions:
        """Return what the window is told; the unconditional branch knows the camera alone."""
        config, geometry = self.model.transformer.config, self.model.conditioner.geometry
        memory = window.memory if is_conditional else []
        numbers = [
            max(slot.latent_index - window.frames.first_latent, -config.max_memory_gap)
            for slot in memory
        ]
        poses = relative_poses(
            config,
            window.latent_poses,
            self.truth.poses([slot.latent_index for slot in memory]),
            window.query_poses[: len(memory)],
        )
        rows = window_actions(window.frames, window.actions, config.action_window_frames)
        rows = np.concatenate([no_action(len(memory), config.action_window_frames), rows])
        if not is_conditional:
            rows = no_action(len(rows), config.action_window_frames)
        windows = to_device(torch.from_numpy(rows)[None], self.model.device)
        at = to_device(torch.tensor([[*numbers, *range(window.num_latents)]]), self.model.device)
        on_device = to_device(torch.from_numpy(poses).float()[None], self.model.device)
        return SegmentConditions(
            rays=geometry.rays(on_device),
            coordinates=geometry.lattice_coordinates(at),
            keyboard=windows[..., :NUM_KEYS],
            mouse=windows[..., NUM_KEYS:],
            prompt=self._prompt if is_conditional else self._negative_prompt,
            num_memory=len(memory),
        )

    def _take(self, latents: Tensor, poses: FloatArray, actions: Actions) -> PendingFrames:
        """Keep new latents [1, C, T, H, W] and begin to decode the frames that they add."""
        stride = 1 if len(poses) == 1 else TEMPORAL_STRIDE
        frames, self._decoder_cache = decode(self.model, latents, self._decoder_cache)
        self.truth.append(HostCopy(latents).wait(), poses[stride - 1 :: stride], actions)
        self._frame_poses.append(np.asarray(poses))
        return frames

    def _replay(self, state: SessionState) -> None:
        """Take in a stored truth, and decode what the decoder must remember."""
        if state.frame_poses is None:
            message = "session state: no frame_poses, expected those of a reference session"
            raise DataError(message)
        for _, latents, poses, actions in state.segments(self.model.transformer.config):
            self.truth.append(latents, poses, actions)
        self._frame_poses = [state.frame_poses]
        latents = state.latents.to(self.model.device)
        self.first_frame, self._decoder_cache = restore_decoder(self.model, latents)
