"""`worldloom model`: presets are listed, described and cut into segments, or refused."""

from __future__ import annotations

import json

import pytest

from cli.main import run_command
from worldloom.presets import PRESETS


def answer(capsys: pytest.CaptureFixture[str], *arguments: str):
    assert run_command(["model", *arguments, "--output", "json"]) == 0
    told = capsys.readouterr()
    assert "next: worldloom " in told.err
    return json.loads(told.out)


def test_every_preset_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "list")
    assert [row["preset"] for row in rows] == list(PRESETS)
    by_name = {row["preset"]: row for row in rows}
    assert by_name["nano-stream"]["segment_frames"] == 12
    assert by_name["mg3-5b"]["pixels"] == "704x1280"


@pytest.mark.slow
def test_a_preset_is_described_by_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    fields = answer(capsys, "describe", "stream-5b")
    parameters = fields["parameters"]
    assert parameters["total"] == sum(parameters[part] for part in ("core", "camera", "action"))
    assert parameters["total"] == pytest.approx(6.47e9, rel=1e-3)
    assert fields["tokens_per_latent_frame"] == 880
    assert fields["flops_per_forward"] == sum(fields["flops_by_part"].values())
    assert fields["memory"]["weights"]["bf16"] == 2 * parameters["total"]
    assert fields["gpu_bytes"] == 80 << 30
    assert fields["gpu"]["bf16"]["fits"] is True
    assert fields["starts_from"].startswith("The reference teacher mg3-5b, every tensor under")


@pytest.mark.slow
def test_a_shape_is_overridden_by_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    shallow = ("describe", "nano-stream", "--set", "num_blocks=1")
    whole = answer(capsys, *shallow)
    single = answer(capsys, *shallow, "--set", "segment_latents=1")
    assert whole["tokens"]["later_segment"] == 3 * single["tokens"]["later_segment"]


@pytest.mark.slow
def test_a_table_says_it_in_units_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "describe", "stream-5b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    [parameters] = [line for line in lines if line.startswith("parameters")]
    assert "6.470 B (core 5.000 B, camera 1.171 B, action 0.300 B)" in parameters
    [cached] = [line for line in lines if line.startswith("keys and values")]
    assert "309.4 MiB a latent, 2.7 GiB a session" in cached
    assert lines[-1] == "next: worldloom model segments stream-5b --count 21"


def test_an_unknown_preset_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "describe", "nano"]) == 2
    told = capsys.readouterr().err
    assert "preset 'nano': not known, expected one of nano-reference, nano-stream" in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mg3-5b", "moe-28b"])
def test_a_gpu_too_small_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    assert run_command(["model", "describe", preset, "--gpu-memory-gib", "8"]) == 9
    told = capsys.readouterr()
    assert not told.out
    [sentence] = told.err.strip().splitlines()
    assert f"{preset}: needs " in sentence
    assert "the GPU has 8.0 GiB, expected at least " in sentence


def test_a_resolution_that_makes_no_tokens_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "describe", "mg3-5b", "--set", "latent_height=45"]) == 2
    assert "latent 45x80 is not a multiple of patch_size 2" in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["mg3-5b", "nano-reference"])
def test_reference_segments_are_the_specifications(
    capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    rows = answer(capsys, "segments", preset, "--count", "21")
    assert len(rows) == 21
    assert rows[0] == {
        "segment_index": 0,
        "start_frame": 0,
        "end_frame": 57,
        "first_latent": 0,
        "last_latent": 14,
        "num_new_frames": 57,
        "memory_query_frames": [],
        "action_slice_of_last_latent": [44, 55],
    }
    for index, row in enumerate(rows[1:], 1):
        assert row["end_frame"] == 57 + 40 * index
        assert row["start_frame"] == row["end_frame"] - 56
        assert (row["first_latent"], row["last_latent"]) == (10 * index + 1, 10 * index + 14)
        assert row["memory_query_frames"] == [
            row["end_frame"] - back for back in (1, 9, 17, 25, 33)
        ]
        last = row["last_latent"]
        assert row["action_slice_of_last_latent"] == [4 * last - 11, 4 * last]


def test_stream_segments_follow_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "segments", "stream-5b", "--count", "3")
    assert [row["first_latent"] for row in rows] == [1, 4, 7]
    single = answer(capsys, "segments", "stream-5b", "--count", "3", "--set", "segment_latents=1")
    assert [row["num_new_frames"] for row in single] == [4, 4, 4]


def test_segments_are_a_table_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "segments", "mg3-5b", "--count", "2"]) == 0
    heading, first, second, *_ = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["segment_index", "start_frame", "end_frame"]
    assert (first.split()[2], second.split()[2]) == ("57", "97")


def test_no_segments_at_all_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "segments", "mg3-5b", "--count", "0"]) == 2
    assert "count" in capsys.readouterr().err
