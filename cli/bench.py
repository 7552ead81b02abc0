"""`worldloom bench`: measure, and write the figures down with the machine that they were seen on.

The work is in `worldloom.bench` and `services.load`; this module asks, writes and tells.
"""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.bench_report import finish_report
from cli.output import Output, OutputOption, say
from cli.pipeline_requests import home, store_address
from cli.progress import progress

app = typer.Typer(
    help="Measure, and write the figures down.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Measure, and write the figures down."""


@app.command("memory")
def memory(
    trajectories: Annotated[
        int, typer.Option(min=1, help="Random walks on which the loss of overlap is measured.")
    ] = 1000,
    samples: Annotated[int, typer.Option(min=1, help="Timed queries at each length.")] = 200,
    hull_samples: Annotated[int, typer.Option(min=1, help="Timed queries by exact hulls.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the walks.")] = 0,
    device: Annotated[str, typer.Option(help="Where ours runs: cpu or cuda.")] = "cpu",
    output_dir: Annotated[Path, typer.Option(help="Folder for memory.json and memory.md.")] = Path(
        "docs/results/memory"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure retrieval: its time against exact hulls, its growth, the overlap it loses."""
    from worldloom.bench.memory import MemoryBenchConfig, measure_memory
    from worldloom.bench.record import open_device

    config = MemoryBenchConfig(
        num_trajectories=trajectories,
        num_samples=samples,
        num_hull_samples=hull_samples,
        seed=seed,
    )
    command = (
        f"worldloom bench memory --trajectories {trajectories} --samples {samples}"
        f" --hull-samples {hull_samples} --seed {seed} --device {device}"
    )
    report = measure_memory(config, open_device(device), command)
    finish_report(report, output_dir, "memory", output)


@app.command("rollout")
def rollout(
    frames: Annotated[int, typer.Option(min=100, help="Frames of the long walk.")] = 20_000,
    full_after: Annotated[
        int, typer.Option(min=50, help="Frames after which memory may not grow.")
    ] = 2_000,
    samples: Annotated[int, typer.Option(min=1, help="Timed segments of each session.")] = 120,
    preset: Annotated[str, typer.Option(help="A stream preset.")] = "nano-stream",
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, noise and the way.")] = 0,
    device: Annotated[str, typer.Option(help="Where it runs: cpu or cuda.")] = "cpu",
    output_dir: Annotated[Path, typer.Option(help="Folder for PRESET.json and PRESET.md.")] = Path(
        "docs/results/rollout"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Walk far in one session: is it finite, does memory stay flat, does a segment's time?"""
    from worldloom.bench.record import open_device
    from worldloom.bench.rollout import RolloutBenchConfig, measure_rollout
    from worldloom.presets import preset as named

    config = RolloutBenchConfig(
        num_frames=frames, full_after_frames=full_after, num_samples=samples, seed=seed
    )
    command = (
        f"worldloom bench rollout --frames {frames} --full-after {full_after}"
        f" --samples {samples} --preset {preset} --seed {seed} --device {device}"
    )
    shape = named(preset).transformer
    with progress("frames") as report:
        found = measure_rollout(config, shape, open_device(device), command, report)
    finish_report(found, output_dir, preset, output)


@app.command("model")
def model(
    preset: Annotated[str, typer.Argument(help="Name of a preset.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="path=value of the transformer's shape, over the preset's."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Timed runs of each pass.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and inputs.")] = 0,
    device: Annotated[str, typer.Option(help="Where it runs: cpu or cuda.")] = "cpu",
    output_dir: Annotated[Path, typer.Option(help="Folder for PRESET.json and PRESET.md.")] = Path(
        "docs/results/model"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Time a preset's passes with random weights, and compare memory with what was foretold."""
    from worldloom.bench.model import ModelBenchConfig, measure_model
    from worldloom.bench.record import open_device
    from worldloom.presets import preset as named
    from worldloom.presets import with_overrides

    shape = with_overrides(named(preset), overrides or []).transformer
    chosen = "".join(f" --set {override}" for override in overrides or [])
    command = (
        f"worldloom bench model {preset}{chosen} --samples {samples} --seed {seed}"
        f" --device {device}"
    )
    config = ModelBenchConfig(num_samples=samples, seed=seed)
    found = measure_model(config, shape, open_device(device), command)
    name = "-".join([preset, *(o.replace("=", "_") for o in overrides or [])])
    finish_report(found, output_dir, name, output)


class ServePart(StrEnum):
    """What of the service is measured."""

    GATEWAY = "gateway"
    ENGINE = "engine"
    PAGE = "page"


@app.command("serve")
def serve(
    part: Annotated[
        ServePart,
        typer.Argument(
            help="gateway: what it adds, on a fake engine; engine: a real release; page: from"
            " `worldloom up` to a picture in a browser."
        ),
    ],
    sessions: Annotated[
        int, typer.Option(min=0, help="Sessions at once; for the engine, the most to try.")
    ] = 0,
    seconds: Annotated[
        float, typer.Option(min=0, help="Time of play: 600 s, and 20 s for the engine.")
    ] = 0,
    opens: Annotated[
        int, typer.Option(min=0, help="Timed openings: 60, and 5 cold starts for the page.")
    ] = 0,
    release: Annotated[
        str, typer.Option(help="Digest or folder of a release; by default of the starter weights.")
    ] = "starter",
    seed: Annotated[int, typer.Option(min=0, help="Seed of arrivals, noise and walks.")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Folder for PART.json and PART.md.")] = Path(
        "docs/results/serve"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Let simulated players play: what the gateway adds, what players of a release see."""
    sessions = sessions or (32 if part is ServePart.GATEWAY else 8)
    seconds = seconds or (600.0 if part is ServePart.GATEWAY else 20.0)
    opens = opens or (5 if part is ServePart.PAGE else 60)
    command = f"worldloom bench serve {part}"
    played = f" --sessions {sessions} --seconds {seconds:g} --seed {seed}"
    if part is ServePart.GATEWAY:
        from services.load.gateway_bench import GatewayBenchConfig, measure_gateway

        config = GatewayBenchConfig(num_sessions=sessions, seconds=seconds, seed=seed)
        with progress("seconds") as report:
            found = measure_gateway(config, command + played, report)
    elif part is ServePart.PAGE:
        from services.load.page_bench import PageBenchConfig, measure_page

        up = [sys.executable, "-m", "cli.main", "up", "--release", release, "--port"]
        starts = PageBenchConfig(num_starts=opens)
        command += f" --opens {opens} --release {release}"
        with progress("starts") as report:
            found = measure_page(starts, up, command, report)
    else:
        from services.load.serving_bench import ServingBenchConfig, measure_serving
        from services.release_source import choose_release
        from worldloom.store import open_store

        source = choose_release(release, lambda: open_store(store_address()), home())
        engine = ServingBenchConfig(
            num_opens=opens, most_sessions=sessions, seconds=seconds, seed=seed
        )
        command += f"{played} --opens {opens} --release {release}"
        with progress("openings") as report:
            found = measure_serving(engine, source, command, report, lambda text: say(text, output))
    finish_report(found, output_dir, str(part), output)


@app.command("gpu")
def gpu(
    preset: Annotated[str, typer.Argument(help="Name of a large preset.")] = "stream-5b",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="path=value of the transformer's shape, over the preset's."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds that are played.")] = 120,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            help="path=value of how it is measured (`GpuBenchConfig`), such as ablation_seconds=3.",
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option("--run", help="path=value of how the model is run (`RealtimeConfig`)."),
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for PRESET.json and PRESET.md.")] = Path(
        "docs/results/gpu"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Play a preset with random weights in real time: parts, whole, one thing off at a time."""
    from worldloom.bench.gpu import GpuBenchConfig, measure_gpu
    from worldloom.bench.gpu_report import floors_of
    from worldloom.bench.record import open_device
    from worldloom.config import apply_overrides
    from worldloom.presets import preset as named
    from worldloom.presets import with_overrides

    chosen = with_overrides(named(preset), overrides or [])
    config = apply_overrides(
        GpuBenchConfig(
            play_seconds=seconds, realtime=apply_overrides(GpuBenchConfig().realtime, run or [])
        ),
        measure or [],
    )
    options = [f"--set {one}" for one in overrides or []] + [f"--run {one}" for one in run or []]
    options += [f"--measure {shlex.quote(one)}" for one in measure or []]
    times = f"--seconds {seconds:g}"
    command = " ".join(["worldloom bench gpu", preset, *options, times])
    floors = floors_of(
        preset,
        segment_latents=chosen.transformer.segment_latents,
        is_default_shape=chosen == named(preset),
    )
    report = measure_gpu(config, chosen, floors, open_device("cuda"), command)
    name = "-".join([preset, *(o.replace("=", "_") for o in (*(overrides or []), *(run or [])))])
    finish_report(report, output_dir, name, output)


@app.command("pair")
def pair(
    preset: Annotated[str, typer.Argument(help="Name of a large preset.")] = "mg3-5b",
    segments: Annotated[int, typer.Option(min=2, help="Segments that count, of each way.")] = 8,
    samples: Annotated[int, typer.Option(min=1, help="Timed runs of each part.")] = 10,
    output_dir: Annotated[
        Path, typer.Option(help="Folder for PRESET-pair.json and PRESET-pair.md.")
    ] = Path("docs/results/gpu"),
    output: OutputOption = Output.TABLE,
) -> None:
    """Play a preset on one GPU and on two: decoding on the second, tokens shared by both."""
    from worldloom.bench.gpu import GpuBenchConfig
    from worldloom.bench.gpu_pair import measure_pair
    from worldloom.presets import preset as named

    config = GpuBenchConfig(num_samples=samples, num_warmup=2)
    command = f"worldloom bench pair {preset} --segments {segments} --samples {samples}"
    report = measure_pair(config, named(preset), segments, command)
    finish_report(report, output_dir, f"{preset}-pair", output)


@app.command("options")
def options(
    release: Annotated[
        Path | None, typer.Option(help="Release folder; the starter's by default.")
    ] = None,
    walks: Annotated[int, typer.Option(min=2, help="Walks of each way.")] = 8,
    segments: Annotated[int, typer.Option(min=2, help="Segments of a walk.")] = 8,
    output_dir: Annotated[Path, typer.Option(help="Folder for options.json and .md.")] = Path(
        "docs/results/options"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Walk with and without what changes a student: how far apart are the frames?"""
    from services.starter_release import starter_release
    from worldloom.bench.options import OptionsBenchConfig, measure_options
    from worldloom.rollout.release import load_release

    folder = release
    if folder is None:
        folder = home() / "starter-release"
        starter_release(folder)
    config = OptionsBenchConfig(num_walks=walks, num_segments=segments)
    command = f"worldloom bench options --walks {walks} --segments {segments}"
    if release is not None:
        command += f" --release {release}"
    report = measure_options(config, load_release(folder), command)
    finish_report(report, output_dir, "options", output)


@app.command("train")
def train(
    preset: Annotated[str, typer.Argument(help="Name of a preset.")] = "mg3-5b",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="path=value of the transformer's shape, over the preset's."),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option("--run", help="path=value of how steps are run (`TrainBenchConfig`)."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Timed steps.")] = 20,
    device: Annotated[str, typer.Option(help="Where it runs: cpu or cuda.")] = "cpu",
    name: Annotated[
        str, typer.Option(help="Name of the two files; made of preset and options by default.")
    ] = "",
    output_dir: Annotated[Path, typer.Option(help="Folder for NAME.json and NAME.md.")] = Path(
        "docs/results/train"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Train on random latents: use of the device's arithmetic (MFU), time waited for data.

    A slice of a billion parameters is `mg3-5b --set num_blocks=4 --set num_action_blocks=2
    --set num_text_blocks=4`.
    """
    from worldloom.bench.record import open_device
    from worldloom.bench.train import TrainBenchConfig, measure_train
    from worldloom.config import apply_overrides
    from worldloom.presets import preset as named
    from worldloom.presets import with_overrides

    shape = with_overrides(named(preset), overrides or []).transformer
    config = apply_overrides(TrainBenchConfig(num_samples=samples), run or [])
    options = [f"--set {one}" for one in overrides or []] + [f"--run {one}" for one in run or []]
    options += [f"--samples {samples} --device {device}"] + ([f"--name {name}"] if name else [])
    command = " ".join(["worldloom bench train", preset, *options])
    with progress("steps") as report:
        found = measure_train(config, shape, open_device(device), command, report)
    parts = [preset, *(o.replace("=", "_") for o in (*(overrides or []), *(run or [])))]
    finish_report(found, output_dir, name or "-".join(parts), output)


@app.command("cpu")
def cpu(
    preset: Annotated[str, typer.Argument(help="Name of a small stream preset.")] = "freedoom",
    turns: Annotated[int, typer.Option(min=1, help="Turns of each way to run it.")] = 10,
    output_dir: Annotated[Path, typer.Option(help="Folder for PRESET.json and PRESET.md.")] = Path(
        "docs/results/cpu"
    ),
    output: OutputOption = Output.TABLE,
) -> None:
    """Play a small preset with random weights on this machine's CPU, each way in turns."""
    from worldloom.bench.cpu import CpuBenchConfig, measure_cpu
    from worldloom.presets import preset as named

    command = f"worldloom bench cpu {preset} --turns {turns}"
    report = measure_cpu(CpuBenchConfig(num_turns=turns), named(preset), command)
    finish_report(report, output_dir, preset, output)
