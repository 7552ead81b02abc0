"""A measurement is stated with its machine, and a report says which bars were missed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from worldloom.bench.record import (
    Bar,
    BenchReport,
    Table,
    measured,
    open_device,
    page_of,
    this_machine,
    timed_in_turns,
    write_report,
)
from worldloom.config import parse_config
from worldloom.errors import ConfigError, MachineError

CPU = torch.device("cpu")


def report(*bars):
    return BenchReport(
        title="Things",
        command="worldloom bench things",
        notes=("Ten of them.",),
        machine=this_machine(CPU),
        measurements=(measured("thing", "s", [3.0, 1.0, 2.0]),),
        bars=bars,
    )


def bar(value, sense="at most", limit=2.0):
    return Bar(name="thing", value=value, limit=limit, sense=sense, unit="s")


def test_warm_up_is_left_out():
    found = measured("thing", "s", [100.0, *map(float, range(101))], num_warmup=1)
    assert (found.median, found.p95, found.mean) == (50.0, 95.0, 50.0)
    assert (found.num_samples, found.num_warmup) == (101, 1)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_nothing_and_not_a_number_are_refused(values):
    with pytest.raises(ValueError, match="expected finite ones, at least one"):
        measured("thing", "s", values, num_warmup=1)


@pytest.mark.parametrize(
    ("value", "sense", "is_met"),
    [
        (2.0, "at most", True),
        (2.1, "at most", False),
        (2.0, "at least", True),
        (1.9, "at least", False),
    ],
)
def test_a_bar_has_a_good_side(value, sense, is_met):
    assert bar(value, sense).is_met == is_met


def test_a_bar_says_value_and_limit_in_one_sentence():
    assert bar(2.5).sentence == "thing: 2.5 s, expected at most 2 s"


def test_missed_bars_are_those_not_met():
    assert report(bar(1.0)).missed == ()
    assert [missed.value for missed in report(bar(1.0), bar(3.0)).missed] == [3.0]


def test_tasks_take_turns_in_both_directions():
    order: list[str] = []
    seconds = timed_in_turns(
        {name: lambda name=name: order.append(name) for name in "ab"},
        num_samples=2,
        num_warmup=1,
        device=CPU,
    )
    assert "".join(order) in {"baabba", "abbaab"}
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    assert all(time >= 0 for times in seconds.values() for time in times)


def test_a_short_task_may_run_several_times_a_turn():
    order: list[str] = []
    seconds = timed_in_turns(
        {name: lambda name=name: order.append(name) for name in "ab"},
        num_samples=2,
        num_warmup=0,
        device=CPU,
        repeats={"a": 3},
    )
    assert len(seconds["a"]) == 6
    assert "".join(order) in {"baaaaaab", "aaabbaaa"}


def test_a_report_is_written_for_programs_and_for_people(tmp_path):
    written = report(bar(1.0), bar(3.0))
    data, page = write_report(tmp_path / "results", "things", written)
    assert parse_config(BenchReport, json.loads(data.read_text())) == written
    text = page.read_text()
    assert "`worldloom bench things`" in text
    assert "| thing | s | 3 | 0 | 2 |" in text
    assert "| thing | 1 s | at most 2 s | yes |" in text
    assert "| thing | 3 s | at most 2 s | no |" in text
    assert f"torch {torch.__version__}" in text
    assert text == page_of(written)


def test_the_machine_is_named_with_its_versions():
    machine = this_machine(CPU)
    assert machine.device == "cpu"
    assert machine.num_threads == torch.get_num_threads()
    assert machine.numpy == np.__version__
    assert machine.processor


def test_an_unknown_device_is_refused():
    assert open_device("cpu") == CPU
    with pytest.raises(ConfigError, match="device 'gpu': not known, expected one of cpu, cuda"):
        open_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(MachineError, match="none on this machine"):
        open_device("cuda")


def test_tables_stand_on_the_page_below_the_bars():
    table = Table(title="One off", columns=("what", "n"), rows=(("all on", "3"),))
    page = page_of(report().model_copy(update={"tables": (table,)}))
    assert page.endswith("\n## One off\n\n| what | n |\n| --- | --- |\n| all on | 3 |\n")


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="table 'One off': expected 2 cells in every row"):
        Table(title="One off", columns=("what", "n"), rows=(("all on",),))
