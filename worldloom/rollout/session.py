"""A session of a stream model: one player's walk, segment by segment.

Latents, poses and actions are the truth; keys, values and the decoder's cache follow from them, so
a session is stored and resumed by that truth alone and goes on with the same frames. Noise of
segment i depends on (seed, i) only. It does not know transports, slots of a server or deadlines.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.actions import Actions
from worldloom.arrays import FloatArray
from worldloom.camera import pose_matrix
from worldloom.diffusion.from_host import to_device
from worldloom.diffusion.solver import solve
from worldloom.errors import DataError
from worldloom.frames import TEMPORAL_STRIDE, num_pixel_frames
from worldloom.memory.paging import PayloadCache
from worldloom.model.attention import BlockContext
from worldloom.model.transformer import Context
from worldloom.model.vae.video_vae import DecoderCache
from worldloom.rollout.committed_pages import Page, pages_of
from worldloom.rollout.context_slots import ContextSlots
from worldloom.rollout.host_copy import HostCopy
from worldloom.rollout.segment import Windows
from worldloom.rollout.truth import SessionState, SessionTruth, segment_of
from worldloom.rollout.world_model import (
    Frames,
    GivenPoses,
    KeepingNetwork,
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

_NO_ACTION = Actions.still(1)


class WorldSession:
    """A walk through one world."""

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
            video = image_to_video(image, model.frame_size).to(model.device)
            latent = model.encoder(video)[0]
            self.first_frame = self._take(latent, pose[None], _NO_ACTION).wait()[0]

    @classmethod
    def resume(
        cls, model: WorldModel, state: SessionState, *, prompt: str, seed: int, memory: bool = True
    ) -> WorldSession:
        """Return a session that goes on from a stored state, recomputing all that follows."""
        session = cls.__new__(cls)
        session._begin(model, prompt, seed, memory=memory)  # noqa: SLF001
        with torch.inference_mode():
            session._replay(state)  # noqa: SLF001
        return session

    def _begin(self, model: WorldModel, prompt: str, seed: int, *, memory: bool) -> None:
        config = model.transformer.config
        self.model = model
        self.seed = seed
        self.memory = memory
        self.truth = SessionTruth(
            config,
            model.bank,
            model.retrieval,
            model.intrinsics,
            model.spill_folder,
            model.cover,
        )
        self.slots = ContextSlots(config, dtype=model.transformer.dtype, device=model.device)
        self.committed: PayloadCache[Page] = PayloadCache(model.cached_latents)
        self._decoder_cache: DecoderCache | None = None
        self._prompt = model.encode_prompt(prompt)

    @property
    def segment_index(self) -> int:
        """Segments generated so far, which is the number of the next one."""
        return (len(self.truth) - 1) // self.model.transformer.config.segment_latents

    @property
    def num_frames(self) -> int:
        """Frames generated so far, the start frame included."""
        return num_pixel_frames(len(self.truth))

    @property
    def segment_frames(self) -> int:
        """Frames that the next segment adds."""
        return self.model.segment_frames

    @property
    def pose(self) -> Float[FloatArray, "4 4"]:
        """The camera's current c2w pose [4, 4]."""
        return self.truth.latest_pose

    def snapshot(self, start_latent: int = 0) -> SessionState:
        """Return the truth of the session from a latent on; `resume` goes on from the whole."""
        return self.truth.snapshot(start_latent)

    def drop_caches(self) -> None:
        """Forget keys, values and the decoder's features, and work them out again."""
        with torch.inference_mode():
            self.committed.clear()
            self._restore(self.truth.snapshot())

    def close(self) -> None:
        """Give up the session's files; it cannot go on."""
        self.truth.close()

    def generate(self, actions: Actions) -> Frames:
        """Generate the frames uint8 [F, H, W, 3] that follow from the actions of whole segments.

        Raises:
            DataError: when the actions do not end with a segment.
        """
        size = self.segment_frames
        if len(actions) % size:
            message = f"actions: {len(actions)} frames, expected whole segments of {size}"
            raise DataError(message)
        starts = range(0, len(actions), size)
        return np.concatenate([self.generate_segment(actions[at : at + size]) for at in starts])

    def generate_segment(self, actions: Actions, poses: GivenPoses | None = None) -> Frames:
        """Generate the frames uint8 [F, H, W, 3] that follow from a segment's actions.

        Arguments and refusals are those of `begin_segment`.
        """
        return self.begin_segment(actions, poses).wait()

    def begin_segment(self, actions: Actions, poses: GivenPoses | None = None) -> PendingFrames:
        """Generate a segment and begin to decode the frames that follow from its actions.

        On a GPU they may be waited for while the next segment is under way.

        Args:
            actions: as many frames as a segment has.
            poses: c2w [F, 4, 4] in the session's frame, where they are known; integrated from the
                actions otherwise.

        Raises:
            DataError: when the number of actions is not that of a segment, or a pose is not rigid.
        """
        poses = followed_poses(self.model, self.pose, actions, self.segment_frames, poses)
        latent_poses = poses[TEMPORAL_STRIDE - 1 :: TEMPORAL_STRIDE]
        with torch.inference_mode():
            for slot in self._choose_memory(len(self.truth), latent_poses):
                self._write(slot)
            latents, kept = self._denoise(latent_poses, actions)
            return self._take(latents, latent_poses, actions, kept)

    def _denoise(
        self, poses: FloatArray, actions: Actions
    ) -> tuple[Tensor, list[BlockContext] | None]:
        """Return the latents [1, C, T, H, W] of the next segment, and what its last step kept."""
        transformer, sampler, count = self.model.transformer, self.model.sampler, len(poses)
        config = transformer.config
        anchor = self._on_device(self.pose)
        windows = self._windows_on_device(self.truth.windows_after(actions))
        prepared = transformer.prepare(
            self.model.conditioner.noisy(
                self._on_device(poses), anchor[:, 0], windows, self._prompt
            )
        )
        context = transformer.placed(self._context(anchor[:, 0]))
        generator = segment_generator(self.seed, self.segment_index)
        shape = (1, config.latent_channels, count, config.latent_height, config.latent_width)

        steps_left = len(sampler.sigmas)
        kept: list[BlockContext] | None = None

        def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
            nonlocal kept, steps_left
            steps_left -= 1
            told = told_sigma(sigma, sampler)[:, None].expand(-1, count)
            if steps_left or not self.model.commits_last_step:
                return transformer.denoise(noisy, told, prepared, context).float()
            assert isinstance(transformer, KeepingNetwork), "only those commit their last step"
            last, kept = transformer.denoise_and_keep(noisy, told, prepared, context)
            return last.float()

        noise = to_device(torch.randn(shape, generator=generator), self.model.device)
        sigmas = torch.tensor([*sampler.sigmas, 0.0])
        return solve(velocity, noise, sigmas, sampler.solver, generator), kept

    def _context(self, anchor: Tensor) -> Context:
        """Place the slots for the segment that starts after the latest committed latent."""
        latents, start = self.slots.latents, len(self.truth)
        poses = self.truth.poses([start - 1 if latent is None else latent for latent in latents])
        ages = [0 if latent is None else start - latent for latent in latents]
        is_valid = [latent is not None for latent in latents]
        return self.model.conditioner.context(
            self.slots.blocks,
            self._on_device(poses),
            anchor,
            to_device(torch.tensor([ages]), self.model.device),
            None if all(is_valid) else torch.tensor([is_valid], device=self.model.device),
        )

    def _choose_memory(self, start: int, poses: FloatArray) -> list[int]:
        """Choose memory for the segment at latent `start`; return the slots to write."""
        if not self.memory:
            return []
        config = self.model.transformer.config
        oldest_past = max(0, start - config.num_past_latents)
        chosen = self.truth.retrieve(poses, config.num_memory_latents, oldest_past)
        return self.slots.assign_memory(chosen, start)

    def _write(self, slot: int) -> None:
        """Write a slot from its latent's page, committed anew where it is not kept."""
        latent = self.slots.latents[slot]
        assert latent is not None, "an empty slot is masked, not written"
        self.slots.write(slot, self.committed.get(latent, self._recommitted))

    def _recommitted(self, latent: int) -> Page:
        """Commit a latent's segment anew, and keep its neighbours too: they are wanted together."""
        group = segment_of(latent, self.model.transformer.config)
        pages = self._keep(group, self._recommit(group))
        return pages[latent - group.start]

    def _keep(self, group: range, committed: list[BlockContext]) -> list[Page]:
        """Keep the pages of a segment, in place of those that nobody can ask for any more."""
        pages = pages_of(committed, len(group))
        self.committed.keep_only(self.truth.held)
        for latent, page in zip(group, pages, strict=True):
            self.committed.put(latent, page)
        return pages

    def _recommit(self, group: range) -> list[BlockContext]:
        """Return the keys and values of a stored segment as when it was committed.

        With window reach they come out as if it had seen nothing: that is the replay given up. So
        it is where keys were those of the last denoising step.
        """
        latents = self.truth.latents(group).to(self.model.device)
        windows = self._windows_on_device(self.truth.windows(group))
        return self._commit(latents, self._on_device(self.truth.poses(group)), windows, None)

    def _commit(
        self, latents: Tensor, poses: Tensor, windows: Windows, seen: tuple[Context, Tensor] | None
    ) -> list[BlockContext]:
        """Return keys and values [1, T P, N, D] of clean latents [1, C, T, H, W], by block.

        Args:
            latents: a whole segment's.
            poses: theirs, [1, T, 4, 4].
            windows: the actions that they read.
            seen: with window reach, the context of the segment and its anchor [1, 4, 4].
        """
        transformer, conditioner = self.model.transformer, self.model.conditioner
        if seen is not None:
            context, anchor = seen
            conditions = conditioner.noisy(poses, anchor, windows, self._prompt)
            return transformer.commit(latents, transformer.prepare(conditions), context)
        alone = transformer.config.reach == "latent"
        if alone:  # every latent is a sample of its own
            latents, poses = latents.transpose(0, 2), poses.transpose(0, 1)
            windows = (windows[0].transpose(0, 1), windows[1].transpose(0, 1))
        prompt = self._prompt.expand(len(latents), *self._prompt.shape[1:])
        prepared = transformer.prepare(conditioner.clean(poses, windows, prompt))
        committed = transformer.commit(latents, prepared)
        if not alone:
            return committed
        return [
            BlockContext(block.keys.flatten(0, 1)[None], block.values.flatten(0, 1)[None])
            for block in committed
        ]

    def _take(
        self,
        latents: Tensor,
        poses: FloatArray,
        actions: Actions,
        kept: list[BlockContext] | None = None,
    ) -> PendingFrames:
        """Commit latents [1, C, T, H, W], unless that was done, and begin to decode their frames.

        Args:
            latents: of the segment.
            poses: theirs.
            actions: of the frames that they add.
            kept: keys and values that stand for theirs.
        """
        start = len(self.truth)
        frames, self._decoder_cache = decode(self.model, latents, self._decoder_cache)
        on_host = HostCopy(latents)  # before the commit, so that nothing waits for that
        committed = self._commit_new(latents, poses, actions) if kept is None else kept
        self.truth.append(on_host.wait(), poses, actions)
        for latent, page in enumerate(self._keep(range(start, len(self.truth)), committed), start):
            self.slots.write(self.slots.assign_past(latent), page)
        return frames

    def _commit_new(
        self, latents: Tensor, poses: FloatArray, actions: Actions
    ) -> list[BlockContext]:
        """Return the keys and values of the segment that comes after the truth."""
        windows = self._windows_on_device(self.truth.windows_after(actions))
        seen = None
        if self.model.transformer.config.reach == "window" and len(self.truth):
            anchor = self._on_device(self.pose)[:, 0]
            seen = self._context(anchor), anchor
        return self._commit(latents, self._on_device(poses), windows, seen)

    def _replay(self, state: SessionState) -> None:
        """Take in a stored truth and choose memory as it was chosen then."""
        for group, latents, poses, actions in state.segments(self.model.transformer.config):
            if group.start:
                self._choose_memory(group.start, poses)
            self.truth.append(latents, poses, actions)
            for latent in group:
                self.slots.assign_past(latent)
        self._restore(state)

    def _restore(self, state: SessionState) -> None:
        """Work out keys, values and the decoder's features from the truth."""
        for slot, latent in enumerate(self.slots.latents):
            if latent is not None:
                self._write(slot)
        latents = state.latents.to(self.model.device)
        self.first_frame, self._decoder_cache = restore_decoder(self.model, latents)

    def _on_device(self, poses: FloatArray) -> Tensor:
        """Return poses [4, 4] or [T, 4, 4] as float32 [1, T, 4, 4]."""
        batch = torch.from_numpy(poses.reshape(1, -1, 4, 4)).float()
        return to_device(batch, self.model.device)

    def _windows_on_device(self, windows: Windows) -> Windows:
        keyboard, mouse = (to_device(window, self.model.device) for window in windows)
        return keyboard, mouse
