"""What each part of a segment takes on a GPU, by device events, on a session's own shapes.

Parts run alone, one after another, with random inputs: what they take beside one another is what
playing shows (`live`). It does not know how a report is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldloom.bench.live import encode
from worldloom.bench.record import Measurement, measured
from worldloom.memory.cover import Cover, greedy_cover_in_torch
from worldloom.memory.keyframe_index import KeyframeIndex
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.dry_run import DryRun, committed_segment, later_segment
from worldloom.rollout.host_copy import HostCopy
from worldloom.rollout.realtime.device_cover import DeviceCover
from worldloom.rollout.session import WorldSession
from worldloom.rollout.world_model import WorldModel, latents_decoded_at_once, pixels_of

Inputs = Callable[[Callable[[TransformerConfig], DryRun]], DryRun]


@dataclass(frozen=True)
class Repeats:
    """How often each part runs."""

    num_samples: int
    num_warmup: int


def device_seconds(run: Callable[[], object], repeats: Repeats) -> list[float]:
    """Return the seconds that a device takes for each run, warm-up included."""
    seconds = []
    for _ in range(repeats.num_warmup + repeats.num_samples):
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return seconds


def pass_times(model: WorldModel, inputs: Inputs, repeats: Repeats) -> tuple[Measurement, ...]:
    """Measure the transformer's passes."""
    network = model.transformer
    later = inputs(later_segment)
    parts: dict[str, Callable[[], object]] = {"prepare": lambda: network.prepare(later.conditions)}
    context = None
    if later.context is not None:
        seen = later.context
        context = network.placed(seen)
        parts["place context"] = lambda: network.placed(seen)
    measurements = [_measured(name, run, repeats) for name, run in parts.items()]
    prepared = network.prepare(later.conditions)
    context = None if later.context is None else network.placed(later.context)
    measurements.append(
        _measured(
            "denoise step",
            lambda: network.denoise(later.latents, later.sigma, prepared, context),
            repeats,
        )
    )
    if context is not None:
        clean = inputs(committed_segment)
        of_clean = network.prepare(clean.conditions)
        measurements.append(
            _measured("commit", lambda: network.commit(clean.latents, of_clean), repeats)
        )
    return tuple(measurements)


def velocity_of(model: WorldModel, inputs: DryRun) -> Tensor:
    """Return the velocity [1, C, T, H, W] that one step gives."""
    network = model.transformer
    with torch.inference_mode():
        prepared = network.prepare(inputs.conditions)
        context = None if inputs.context is None else network.placed(inputs.context)
        return network.denoise(inputs.latents, inputs.sigma, prepared, context).float()


def decode_time(model: WorldModel, latents: Tensor, repeats: Repeats) -> Measurement:
    """Measure decoding one segment's latents to frames on the host."""
    count = latents_decoded_at_once(model.transformer.config)
    _, cache = model.decoder(latents[:, :, : min(2, latents.shape[2])], None)

    def run() -> None:
        state = cache
        for chunk in latents.split(count, dim=2):
            video, state = model.decoder(chunk, state)
            HostCopy(pixels_of(video))

    return _measured("decode", run, repeats)


def session_times(session: WorldSession, repeats: Repeats) -> tuple[Measurement, ...]:
    """Measure what a session does between passes: choosing memory, and committing it again."""
    oldest = range(1, 1 + session.model.transformer.config.segment_latents)

    def commit_again() -> object:
        return session._recommit(oldest)  # noqa: SLF001 - what a page that is missing costs

    host = _retrieval(session, greedy_cover_in_torch)
    gpu = _retrieval(session, DeviceCover(session.model.device))
    return (
        _host_times("retrieval by the host", host, repeats),
        _host_times("retrieval by the GPU", gpu, repeats),
        _host_times("retrieval by the GPU beside a commit", gpu, repeats, before=commit_again),
        _measured("memory refresh, a segment committed again", commit_again, repeats),
    )


def _retrieval(session: WorldSession, cover: Cover) -> Callable[[], object]:
    """Return the question of a session's next segment, asked of another index of its latents."""
    model, truth = session.model, session.truth
    config = model.transformer.config
    index = KeyframeIndex(model.bank, model.retrieval, model.intrinsics, cover=cover)
    for latent in sorted(truth.held):
        index.append(torch.from_numpy(truth.poses([latent])[0]), latent)
    start = len(truth)
    poses = torch.from_numpy(truth.poses(range(start - config.segment_latents, start)))
    oldest_past = max(0, start - config.num_past_latents)
    return lambda: index.query(poses, config.num_memory_latents, oldest_past).tolist()


def _host_times(
    name: str,
    run: Callable[[], object],
    repeats: Repeats,
    before: Callable[[], object] = lambda: None,
) -> Measurement:
    """Measure how long the host takes, with `before` queued on the device."""
    taken = []
    for _ in range(repeats.num_warmup + repeats.num_samples):
        torch.cuda.synchronize()
        before()
        begun = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - begun))
    return measured(name, "ms", taken, num_warmup=repeats.num_warmup)


def encode_time(model: WorldModel, quality: int, repeats: Repeats, seed: int) -> Measurement:
    """Measure encoding one frame on one core; a frame of noise under a gradient."""
    height, width = model.frame_size
    generator = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    frame = (ramp + generator.integers(0, 32, (height, width, 3))).astype(np.uint8)
    taken = []
    for _ in range(repeats.num_warmup + repeats.num_samples):
        begun = time.perf_counter()
        encode(frame, quality)
        taken.append(1e3 * (time.perf_counter() - begun))
    return measured("encode a frame (host)", "ms", taken, num_warmup=repeats.num_warmup)


def _measured(name: str, run: Callable[[], object], repeats: Repeats) -> Measurement:
    taken = [1e3 * seconds for seconds in device_seconds(run, repeats)]
    return measured(name, "ms", taken, num_warmup=repeats.num_warmup)
