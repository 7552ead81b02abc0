"""How a measurement is stated: on what machine, how often, after how much warm-up, and the bars.

A bench makes a report of timings, figures and bars; the report is written as JSON for programs and
as a page for people. Times of several things are taken in turns within one run, so that whatever
disturbs the machine disturbs them alike. It does not know what is measured.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from worldloom.config import Config, resolved
from worldloom.errors import ConfigError, MachineError

DEVICES = ("cpu", "cuda")
CPUINFO = Path("/proc/cpuinfo")


class Machine(Config):
    """Where something was measured."""

    device: str = Field(description="what computed: cpu, or the accelerator's name")
    processor: str = Field(description="model of the CPU")
    num_cores: int = Field(ge=1, description="CPU cores that this process may use")
    num_threads: int = Field(ge=1, description="threads that torch used")
    load: float = Field(ge=0, description="processes at work in the minute before, on average")
    python: str = Field(description="version of Python")
    torch: str = Field(description="version of torch")
    numpy: str = Field(description="version of numpy")


class Measurement(Config):
    """The distribution of one measured quantity."""

    name: str = Field(description="what was measured")
    unit: str = Field(description="unit of median and p95")
    num_samples: int = Field(ge=1, description="values measured, warm-up left out")
    num_warmup: int = Field(ge=0, description="values thrown away before")
    median: float = Field(description="the middle value")
    p95: float = Field(description="95th percentile")
    mean: float = Field(description="mean")


class Bar(Config):
    """What a figure must reach."""

    name: str = Field(description="what is judged")
    value: float = Field(description="what was measured")
    limit: float = Field(description="what was expected")
    sense: Literal["at most", "at least"] = Field(description="on which side of the limit is good")
    unit: str = Field("", description="unit of value and limit")

    @property
    def is_met(self) -> bool:
        """Whether the value is on the good side."""
        return self.value <= self.limit if self.sense == "at most" else self.value >= self.limit

    @property
    def sentence(self) -> str:
        """What was measured and expected."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name}: {self.value:.4g}{unit}, expected {self.sense} {self.limit:g}{unit}"


class Table(Config):
    """Figures that belong side by side."""

    title: str = Field(description="what is compared")
    columns: tuple[str, ...] = Field(min_length=1, description="heads of the columns")
    rows: tuple[tuple[str, ...], ...] = Field(description="cells as they are read")

    @model_validator(mode="after")
    def _is_rectangular(self) -> Table:
        if any(len(row) != len(self.columns) for row in self.rows):
            message = f"table {self.title!r}: expected {len(self.columns)} cells in every row"
            raise ValueError(message)
        return self


class BenchReport(Config):
    """Everything one bench says."""

    title: str = Field(description="what was measured, in a few words")
    command: str = Field(description="what measures it again")
    notes: tuple[str, ...] = Field(description="how it was measured, a sentence each")
    machine: Machine = Field(description="where")
    measurements: tuple[Measurement, ...] = Field(description="what was seen")
    bars: tuple[Bar, ...] = Field(description="what had to be reached")
    tables: tuple[Table, ...] = Field((), description="what else was seen, side by side")

    @property
    def missed(self) -> tuple[Bar, ...]:
        """The bars that were not reached."""
        return tuple(bar for bar in self.bars if not bar.is_met)


def open_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        ConfigError: for a name that is neither cpu nor cuda.
        MachineError: when there is no such device here.
    """
    if name not in DEVICES:
        message = f"device {name!r}: not known, expected one of {', '.join(DEVICES)}"
        raise ConfigError(message)
    if name == "cuda" and not torch.cuda.is_available():
        message = "device 'cuda': none on this machine, expected an NVIDIA GPU that torch can use"
        raise MachineError(message)
    return torch.device(name)


def this_machine(device: torch.device) -> Machine:
    """Return what this process measures on."""
    is_cpu = device.type == "cpu"
    return Machine(
        device="cpu" if is_cpu else torch.cuda.get_device_name(device),
        processor=_processor(),
        num_cores=len(os.sched_getaffinity(0)),
        num_threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
    )


def measured(name: str, unit: str, values: Sequence[float], *, num_warmup: int = 0) -> Measurement:
    """Return the distribution of values after the first `num_warmup`.

    Raises:
        ValueError: when none is left, or one is not finite.
    """
    kept = np.asarray(values[num_warmup:], dtype=np.float64)
    if not len(kept) or not np.isfinite(kept).all():
        message = f"{name}: {len(kept)} values after warm-up, expected finite ones, at least one"
        raise ValueError(message)
    return Measurement(
        name=name,
        unit=unit,
        num_samples=len(kept),
        num_warmup=num_warmup,
        median=float(np.median(kept)),
        p95=float(np.percentile(kept, 95)),
        mean=float(kept.mean()),
    )


def timed_in_turns(
    tasks: Mapping[str, Callable[[], object]],
    *,
    num_samples: int,
    num_warmup: int,
    device: torch.device,
    repeats: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """Return the seconds of each task's runs, warm-up included; tasks take turns.

    On an accelerator a run ends when its work there is done.

    Args:
        tasks: what to time, by name.
        num_samples: turns that count.
        num_warmup: turns before.
        device: where tasks compute.
        repeats: runs of a task in one turn, each timed; one by default.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(num_warmup + num_samples):
        # Every other turn goes backwards, so that none always runs after the same one.
        names = list(tasks)[:: 1 if turn % 2 else -1]
        for name in (n for n in names for _ in range((repeats or {}).get(n, 1))):
            _wait(device)
            start = time.perf_counter()
            tasks[name]()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def write_report(folder: Path, name: str, report: BenchReport) -> tuple[Path, Path]:
    """Write a report as NAME.json and NAME.md into a folder and return the two paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / f"{name}.json", folder / f"{name}.md"
    data.write_text(json.dumps(resolved(report), indent=2) + "\n", encoding="utf-8")
    page.write_text(page_of(report), encoding="utf-8")
    return data, page


def page_of(report: BenchReport) -> str:
    """Return a report as a page."""
    machine = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in report.machine)
    lines = [f"# {report.title}", "", f"`{report.command}`", "", f"Machine: {machine}.", ""]
    lines += [f"- {note}" for note in report.notes]
    lines += ["", "| measured | unit | n | warm-up | median | p95 | mean |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    lines += [
        f"| {m.name} | {m.unit} | {m.num_samples} | {m.num_warmup} | {m.median:.4g} | {m.p95:.4g}"
        f" | {m.mean:.4g} |"
        for m in report.measurements
    ]
    lines += ["", "| bar | value | expected | met |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {bar.name} | {bar.value:.4g} {bar.unit} | {bar.sense} {bar.limit:g} {bar.unit} |"
        f" {'yes' if bar.is_met else 'no'} |"
        for bar in report.bars
    ]
    for table in report.tables:
        lines += [
            "",
            f"## {table.title}",
            "",
            _line(table.columns),
            _line(["---"] * len(table.columns)),
        ]
        lines += [_line(row) for row in table.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
