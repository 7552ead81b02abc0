"""What was played as figures: rates, drift, bars and the table of what one thing is worth."""

import pytest
import torch

from worldloom.bench.gpu_report import (
    Floors,
    Played,
    ablation_table,
    bars_of,
    floors_of,
    minutes_table,
    notes_of,
    parity_note,
    rate_of,
)
from worldloom.bench.live import PlayedSegment
from worldloom.bench.record import measured


def played(seconds=0.2, count=11, slower_at_the_end=1.0, frames=12):
    """Segments of equal length; those after the first half last longer."""
    segments, now = [], 100.0
    for index in range(count):
        segments.append(PlayedSegment(now - 0.1, now, now + 0.25, now + 0.3, frames, 12 * 1024))
        now += seconds * (slower_at_the_end if index > count // 2 else 1)
    return Played(tuple(segments), num_warmup=3)


STEP = measured("denoise step", "ms", [50.0])


def test_frames_a_second_count_from_the_first_encoded_segment_to_the_last():
    assert played().frames_per_second == pytest.approx(60)


def test_latency_counts_from_the_players_action():
    by_name = {one.name: one for one in played().measurements}
    assert by_name["action to the first encoded frame that obeys it"].median == pytest.approx(350)
    assert by_name["encoded frame"].median == pytest.approx(1)
    assert all(one.num_warmup == 3 for one in by_name.values())


def test_drift_compares_minutes_once_there_are_two():
    assert played(count=100, slower_at_the_end=2).drift == 1
    assert played(count=1000, slower_at_the_end=1.1).drift == pytest.approx(1.1)


def test_minutes_are_set_beside_the_first():
    table = minutes_table(played(seconds=0.25, count=721, slower_at_the_end=1.2))
    assert [row[0] for row in table.rows] == ["1", "2", "3"]
    assert table.rows[0] == ("1", "240", "250.0", "250.0", "250.0", "1.0000")
    assert table.rows[2][2:] == ("300.0", "300.0", "300.0", "1.2000")
    assert not played().minutes


def test_rates_are_operations_by_the_median_time():
    assert rate_of(STEP, 35 * 10**12) == (
        "Denoise step: 35 TFLOP by the model's own count, 700 TFLOP/s."
    )


def test_parity_is_relative_to_what_was_expected():
    expected = torch.tensor([3.0, 4.0])
    assert "relative error 0.2000" in parity_note(expected, expected + torch.tensor([1.0, 0.0]))


def test_bars_are_those_that_a_preset_must_reach():
    rows = [("all on", played()), ("linear layers in bf16", played(0.3))]
    floors = floors_of("stream-5b", segment_latents=3, is_default_shape=True)
    bars = {bar.name: bar for bar in bars_of(played(), floors, STEP, 35 * 10**12, rows)}
    assert bars["frames a second, action to encoded frame"].limit == 45
    assert bars["rate of a denoise step"].value == pytest.approx(700)
    assert bars["8-bit layers over bf16, whole loop"].value == pytest.approx(1.5)
    assert all(bar.is_met for bar in bars.values())
    of_one = floors_of("stream-5b", segment_latents=1, is_default_shape=False)
    assert of_one == Floors(latency_p95_ms=250.0)
    [latency, drift] = bars_of(played(), of_one, STEP, 1, [])
    assert latency.value == pytest.approx(350)
    assert not latency.is_met
    assert drift.is_met
    assert floors_of("stream-5b", segment_latents=3, is_default_shape=False) == Floors()
    assert floors_of("mg3-5b", segment_latents=10, is_default_shape=True).frames_per_second == 30


def test_the_table_sets_every_row_beside_the_first():
    table = ablation_table([("all on", played()), ("no graphs", played(0.4))])
    assert table.rows == (
        ("all on", "60.0", "200.0", "10", "1.00"),
        ("no graphs", "30.0", "400.0", "10", "0.50"),
    )


def test_notes_say_that_weights_are_random_and_what_was_chosen():
    first, choice, *_ = notes_of(played(), 3 << 30, ["attention: FP8"])
    assert first.startswith("Weights are random")
    assert choice == "attention: FP8."
