"""The one call of every interface: records first, reports only in local runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

import components.launch
from components.launch import launch
from components.task_status import TaskStatus, read_status, write_status
from worldloom.config import digest_of

ENTRY = "components.promotion.config"  # any source of the project: only its digest is used
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("WORLDLOOM_HOME", str(tmp_path))
    for name in ("WORLDLOOM_STORE", "WORLDLOOM_RUN_FOLDER", "WORLDLOOM_RUNNER_PID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_step_without_a_record_is_imported_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Mapping[str, str]] = []
    digest = digest_of("vae")

    def execute(*_: object, parents: Mapping[str, str], **__: object) -> dict[str, str]:
        seen.append(parents)
        return {"vae": digest, "note": ""}

    monkeypatch.setattr(components.launch, "execute", execute)
    module = SimpleNamespace(STEP=None, run=None)
    monkeypatch.setattr(components.launch.importlib, "import_module", lambda _: module)
    artifact = SimpleNamespace(uri="", metadata={})
    outputs = launch(ENTRY, config="{}", code="", parents={"clips": ""}, lineage={"vae": artifact})
    assert seen == [{"clips": ""}]
    assert outputs == (digest, "")
    assert vars(type(outputs))["_fields"] == ("vae", "note")
    assert artifact.metadata == {"digest": digest}


def test_a_local_run_gets_a_status_a_log_and_the_reason_of_a_failure(home: Path) -> None:
    run_folder = home / "runs" / "r"
    write_status(run_folder, TaskStatus(task="config", expected_seconds=4.0))
    code = (
        "import components.launch as l\n"
        "def fail(*_, **__):\n"
        "    print('working')\n"
        "    raise SystemExit(5) from ValueError('no frames')\n"
        "l.execute = fail\n"
        "l.importlib.import_module = lambda _: type('M', (), {'STEP': 0, 'run': 0})\n"
        f"l.launch('{ENTRY}', config='{{}}', code='', parents={{}}, lineage={{}})\n"
    )
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WORLDLOOM_RUN_FOLDER": str(run_folder),
        "WORLDLOOM_RUNNER_PID": str(os.getpid()),
    }
    answer = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 5
    status = read_status(run_folder, "config")
    assert (status.state, status.exit_code) == ("failed", 5)
    assert status.error == "ValueError: no frames"
    assert (status.reused, status.reason) == (False, "first time")
    assert status.expected_seconds == 4.0
    assert "working" in (run_folder / "tasks" / "config" / "log.txt").read_text()
    assert "working" not in answer.stdout


def test_a_step_whose_runner_is_gone_does_not_go_on(home: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    code = (
        "import time\n"
        "from components.local_report import reported\n"
        "with reported('x'):\n"
        "    time.sleep(30)\n"
    )
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WORLDLOOM_RUN_FOLDER": str(home),
        "WORLDLOOM_RUNNER_PID": str(gone.pid),
    }
    answer = subprocess.run([sys.executable, "-c", code], env=env, check=False, timeout=25)
    assert answer.returncode == -9


def test_a_status_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    status = TaskStatus(task="a", state="done", reused=True, outputs={"x": "1"}, seconds=1.5)
    write_status(tmp_path, status)
    assert read_status(tmp_path, "a") == status
    assert read_status(tmp_path, "b") == TaskStatus(task="b")
    raw = json.loads((tmp_path / "tasks" / "a" / "status.json").read_text())
    assert raw["reused"] is True
    assert [path.name for path in (tmp_path / "tasks" / "a").iterdir()] == ["status.json"]
