"""What a second GPU of the same machine is worth: for decoding, and for sharing the tokens.

A preset is played on one GPU, then with its decoder on another, then with its tokens shared by two
processes (`ulysses`), each time the same way with random weights; one step of the shared network is
held to that of the one. The first process measures and makes the report, the second only takes its
share. It does not know how a report is written.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from worldloom.bench.gpu import GpuBenchConfig, World, full_after, session_of
from worldloom.bench.gpu_machine import require_lone_gpu, software_note
from worldloom.bench.gpu_parts import Repeats, device_seconds, velocity_of
from worldloom.bench.gpu_report import Played, notes_of, relative_error
from worldloom.bench.gpu_timeline import PARTS, Timeline
from worldloom.bench.live import Play
from worldloom.bench.model import random_inputs
from worldloom.bench.record import BenchReport, Measurement, Table, measured, this_machine
from worldloom.errors import MachineError
from worldloom.log import log_event
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.dry_run import DryRun, later_segment
from worldloom.model.vae.vae_coder import CoderCache
from worldloom.model.vae.wan_vae import Latents, WanVAEDecoder
from worldloom.presets import ModelPreset
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import FastModel, make_fast
from worldloom.rollout.realtime.ulysses import PlaceShare
from worldloom.rollout.world_model import WorldModel

_LOGGER = logging.getLogger(__name__)
_NUM_GPUS = 2
_MOST_WAIT = timedelta(minutes=3)
_ONE, _DECODER, _SHARED = "one GPU", "decoder on the second GPU", "tokens shared by two GPUs"


@dataclass(frozen=True)
class _Way:
    """One way to run it, as it was played."""

    name: str
    played: Played
    step: Measurement
    choices: tuple[str, ...]
    velocity: Tensor
    parts: Mapping[str, Sequence[float]]  # what each took in the segments that count, ms


def measure_pair(
    config: GpuBenchConfig, preset: ModelPreset, num_segments: int, command: str
) -> BenchReport:
    """Measure a preset on two GPUs that nothing else uses.

    Args:
        config: how it is run and how often parts are.
        preset: what is played.
        num_segments: segments that are counted, of each way.
        command: what measures it again.

    Raises:
        MachineError: for fewer than two GPUs, or one that others use.
        ConfigError: for a preset whose tokens two processes cannot share.
    """
    if torch.cuda.device_count() < _NUM_GPUS:
        message = f"{torch.cuda.device_count()} GPUs on this machine: expected {_NUM_GPUS}"
        raise MachineError(message)
    # Before anything is compiled, or it would be compiled again for this number.
    torch.set_num_threads(config.num_threads)
    for index in range(_NUM_GPUS):
        require_lone_gpu(torch.device("cuda", index))
    is_shared = preset.transformer.layout == "reference"
    if is_shared:
        PlaceShare(0, _NUM_GPUS).require_fit(preset.transformer)
    with _second_process(config, preset, num_segments, is_needed=is_shared) as store:
        world = World(config, preset, torch.device("cuda", 0))
        elsewhere = RealtimeConfig.model_validate(
            config.realtime.model_dump() | {"decoder_device": "cuda:1"}
        )
        one = make_fast(world.fresh(), config.realtime)
        ways = [_way(_ONE, config, one, num_segments)]
        of_one = one.model.encoder, one.model.decoder
        del one
        ways.append(_way(_DECODER, config, make_fast(world.fresh(), elsewhere), num_segments))
        if is_shared:
            model = world.fresh()
            encoder, decoder = of_one
            model = replace(model, encoder=encoder, decoder=decoder)
            ways.append(_take_share(config, model, num_segments, 0, store))
    return _report(ways, command, preset)


@contextmanager
def _second_process(
    config: GpuBenchConfig, preset: ModelPreset, num_segments: int, *, is_needed: bool
) -> Iterator[Path]:
    """Have a second process make its model and wait for the first at a store."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        if not is_needed:
            yield store
            return
        second = multiprocessing.get_context("spawn").Process(
            target=_be_second, args=(config, preset, num_segments, store)
        )
        second.start()
        try:
            yield store
            second.join()
        finally:
            second.terminate()  # where the first failed, nobody comes to the store any more
            second.join()
        if second.exitcode:
            message = f"second process ended with {second.exitcode}, expected 0; see its error"
            raise MachineError(message)


def _be_second(config: GpuBenchConfig, preset: ModelPreset, num_segments: int, store: Path) -> None:
    torch.set_num_threads(config.num_threads)
    device = torch.device("cuda", 1)
    torch.cuda.set_device(device)
    model = World(config, preset, device).fresh()
    _take_share(config, model, num_segments, 1, store)


def _take_share(
    config: GpuBenchConfig, model: WorldModel, num_segments: int, rank: int, store: Path
) -> _Way:
    """Run one process's share from beginning to end; both do the same, frames apart."""
    dist.init_process_group(
        "nccl",
        init_method=f"file://{store}",
        rank=rank,
        world_size=_NUM_GPUS,
        device_id=model.device,
        timeout=_MOST_WAIT,
    )
    share = PlaceShare.of_this_process(model.transformer.config)
    fast = make_fast(model, config.realtime, share=share)
    if rank:
        fast = replace(fast, model=replace(fast.model, decoder=_NoFrames(model.device)))
    way = _way(_SHARED, config, fast, num_segments)
    del fast  # with its graphs: what they hold of the group must be gone before the group is
    gc.collect()
    dist.destroy_process_group()
    return way


class _NoFrames(WanVAEDecoder):
    """Where a decoder stands in a process that nobody watches: one small frame a chunk."""

    def __init__(self, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.place = nn.Parameter(torch.zeros(1, 3, 1, 8, 8, device=device), requires_grad=False)

    def forward(
        self,
        latents: Latents,  # noqa: ARG002 - nobody watches
        cache: CoderCache | None = None,
    ) -> tuple[Tensor, CoderCache]:
        return self.place, cache or CoderCache({})


def _way(name: str, config: GpuBenchConfig, fast: FastModel, num_segments: int) -> _Way:
    """Measure a step and play; every process of a way calls the same passes as often."""
    model = fast.model
    network = model.transformer
    inputs = _inputs(config, network.config, model)
    velocity = velocity_of(model, inputs).cpu()
    with torch.inference_mode():
        prepared = network.prepare(inputs.conditions)
        context = None if inputs.context is None else network.placed(inputs.context)
        seconds = device_seconds(
            lambda: network.denoise(inputs.latents, inputs.sigma, prepared, context),
            Repeats(config.num_samples, config.num_warmup),
        )
    step = measured(
        "denoise step", "ms", [1e3 * one for one in seconds], num_warmup=config.num_warmup
    )
    timeline = Timeline()
    session = session_of(config, timeline.of_model(model))
    play = Play(timeline.of_session(session), config.jpeg_quality, config.num_encoders, config.seed)
    with timeline.watched(model.decoder):
        num_warmup = len(play.play(0.0, least_segments=full_after(model)))
        played = Played(tuple(play.play(0.0, least_segments=num_segments)), num_warmup)
    play.close()
    session.close()
    parts = timeline.milliseconds(num_segments - 1)
    log_event(
        _LOGGER,
        "way_played",
        way=name,
        frames_per_second=played.frames_per_second,
        step_ms=step.median,
        parts={part: [round(one, 1) for one in taken] for part, taken in parts.items()},
    )
    return _Way(name, played, step, fast.choices, velocity, parts)


def _generator(config: GpuBenchConfig, model: WorldModel) -> torch.Generator:
    return torch.Generator(model.device).manual_seed(config.seed + 1)


def _inputs(config: GpuBenchConfig, shape: TransformerConfig, model: WorldModel) -> DryRun:
    return random_inputs(later_segment, shape, _generator(config, model))


def _report(ways: list[_Way], command: str, preset: ModelPreset) -> BenchReport:
    one = ways[0]
    rows = tuple(
        (
            way.name,
            f"{way.played.frames_per_second:.1f}",
            f"{1e3 * sorted(way.played.segment_seconds)[len(way.played.segment_seconds) // 2]:.1f}",
            str(len(way.played.segment_seconds)),
            f"{way.step.median:.1f}",
            f"{way.played.frames_per_second / one.played.frames_per_second:.2f}",
            f"{relative_error(one.velocity, way.velocity):.4f}",
        )
        for way in ways
    )
    return BenchReport(
        title=f"Two GPUs, {preset.transformer.segment_latents} latents a segment",
        command=command,
        notes=(
            *notes_of(one.played, torch.cuda.max_memory_allocated(), one.choices),
            *(f"{way.name}: {'; '.join(way.choices)}." for way in ways[1:]),
            "Velocity: relative error of one step against that of one GPU.",
            software_note(),
        ),
        machine=this_machine(torch.device("cuda")),
        measurements=tuple(
            part.model_copy(update={"name": f"{way.name}: {part.name}"})
            for way in ways
            for part in (way.step, *way.played.measurements)
        ),
        bars=(),
        tables=(
            Table(
                title="What a second GPU is worth",
                columns=(
                    "what",
                    "frames a second",
                    "segment, median ms",
                    "n",
                    "denoise step, median ms",
                    "of one GPU",
                    "velocity",
                ),
                rows=rows,
            ),
            _parts_table(ways),
        ),
    )


def _parts_table(ways: list[_Way]) -> Table:
    """Return where a segment's time went, way by way, as the first process met it."""
    return Table(
        title="Where a segment's time goes, median (most) ms",
        columns=("part", *(way.name for way in ways)),
        rows=tuple(
            (
                part,
                *(
                    f"{statistics.median(way.parts[part]):.1f} ({max(way.parts[part]):.1f})"
                    for way in ways
                ),
            )
            for part in PARTS
        ),
    )
