"""`worldloom data`: what a clips folder or artifact holds, told to people and programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import run_command
from worldloom.data.clips import clip_to_row, write_rows
from worldloom.data.sources.procedural import ProceduralConfig, capture_clip
from worldloom.store import FolderStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    config = ProceduralConfig(supersample=1)
    rows = [
        clip_to_row(
            capture_clip(config, seed=seed, split=split, num_frames=9, trajectory="spin"),
            quality={"brightness": 80.0},
        )
        for split, count in (("train", 2), ("test", 1))
        for seed in range(count)
    ]
    write_rows(folder, rows)
    return folder


def test_a_folder_is_told_by_split_and_source(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", "describe", str(folder), "--output", "json"]) == 0
    told = capsys.readouterr()
    train, test = json.loads(told.out)
    assert (train["split"], train["clips"], train["frames"], train["worlds"]) == ("train", 2, 18, 2)
    assert (test["split"], test["clips"], test["size"]) == ("test", 1, "64x64")
    assert train["spin"] == 2
    assert train["brightness"] == 80.0
    assert "next: worldloom" in told.err


def test_every_clip_can_be_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "describe", str(folder), "--clips"]) == 0
    assert "procedural-test-000000000-spin" in capsys.readouterr().out


def test_an_artifact_is_found_by_its_digest(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLDLOOM_STORE", str(tmp_path))
    digest = FolderStore(tmp_path).put(folder, kind="clips", config={}, parents={})
    assert run_command(["data", "describe", digest, "--output", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["describe", "nowhere"], 5, "expected a sha256: digest or a folder"),
        (["describe", "."], 5, "it has no summary.json"),
        (["ingest", "--set", "num_frame=3"], 2, "num_frame: no such setting"),
        (["ingest", "--set", "procedural_clips.train=-3"], 2, "greater than or equal to 0"),
    ],
)
def test_mistakes_get_one_sentence_and_an_exit_code(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["data", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_describing_imports_no_torch_no_engine_and_no_ray(folder: Path) -> None:
    script = (
        "import sys; from cli.main import run_command;"
        f"run_command(['data', 'describe', {str(folder)!r}]);"
        "sys.exit(int(bool({'torch', 'ray', 'vizdoom', 'kfp'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == 0
