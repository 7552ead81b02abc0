"""`worldloom train starter`: a wrong setting is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import run_command
from pipelines import local


def start_nothing(folder: Path) -> Path:
    message = f"{folder}: started, expected a refusal"
    raise AssertionError(message)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "strater"], "strater"),
        (["--preset", "smallest", "--set", "ingest.num_frmaes=37"], "num_frmaes"),
        (["--preset", "smallest", "--set", "ingest.num_frames=36"], "num_frames"),
    ],
)
def test_a_wrong_setting_exits_with_2_and_starts_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("WORLDLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WORLDLOOM_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(local, "start_run", start_nothing)
    out = tmp_path / "starter"
    assert run_command(["train", "starter", "--out", str(out), "--no-tracking", *options]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not out.exists()
    assert not list((tmp_path / "home").glob("runs/*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["memoir"], "leg.stage"),
        (["memory", "--preset", "fredoom"], "preset 'fredoom': not known"),
        (["memory", "--set", "feed.first_clip=3"], "feed.first_clip: no such setting"),
    ],
)
def test_a_leg_that_is_asked_for_wrongly_exits_with_2_and_renders_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    data = tmp_path / "data"
    weights = ["--weights", str(tmp_path / "weights"), "--data", str(data)]
    assert run_command(["train", "leg", *options, *weights]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not data.exists()
