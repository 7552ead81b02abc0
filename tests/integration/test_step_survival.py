"""Steps as processes: killed in the middle and run again, or started twice at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worldloom.store import FolderStore

ROOT = Path(__file__).parents[2]
NUM_PARTS = 5
SOURCE = '''"""A step of five parts that goes on where it was killed."""

import os
import random
import time
from pathlib import Path

from components.runtime import Step
from worldloom.config import Config


class PartsConfig(Config):
    seed: int = 7


STEP = Step(name="parts", config=PartsConfig, parents=(), outputs=("weights",))


def run(context):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write("run\\n")
    done = sorted(context.scratch.glob("part-*"))
    print("starts at part", len(done), flush=True)
    for index in range(len(done), 5):
        if str(index) == os.environ.get("STOP_AT"):
            (context.fresh_folder("out") / "leftover").write_text("half")
            Path(os.environ["STOPPED"]).touch()
            while not Path(os.environ["GO"]).exists():
                time.sleep(0.02)
        draft = context.scratch / "draft"
        draft.write_text(str(random.Random(context.config.seed + index).random()))
        draft.rename(context.scratch / f"part-{index}")
    folder = context.fresh_folder("out")
    for part in sorted(context.scratch.glob("part-*")):
        (folder / part.name).write_bytes(part.read_bytes())
    return {"weights": context.commit(folder, "clips")}
'''
START = """
import json
from components import code_digest
code_digest.PROJECT_PACKAGES += ("killable",)
from killable.parts import STEP, run
from components.runtime import execute
print(json.dumps(execute(STEP, run, config="{}", parents={}, code="")))
"""


class Machine:
    """One state folder and the processes that use it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.home = folder / name
        self.runs = folder / f"{name}-runs"
        self.stopped = folder / f"{name}-stopped"
        self.go = folder / f"{name}-go"
        self._started: list[subprocess.Popen[str]] = []
        self._sources = folder / "sources"
        package = self._sources / "killable"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("")
        (package / "parts.py").write_text(SOURCE)

    def start(self, stop_at: int | None = None) -> subprocess.Popen[str]:
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MLFLOW_", "WORLDLOOM_"))
        }
        environment |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(self._sources)]),
            "WORLDLOOM_HOME": str(self.home),
            "RUNS": str(self.runs),
            "STOPPED": str(self.stopped),
            "GO": str(self.go),
            "STOP_AT": "" if stop_at is None else str(stop_at),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", START],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """End what a failed test left running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def finish(self) -> tuple[str, str]:
        """Run the step to its end and return its digest and what it said."""
        return self.result_of(self.start())

    @staticmethod
    def result_of(process: subprocess.Popen[str]) -> tuple[str, str]:
        out, log = process.communicate(timeout=120)
        assert process.returncode == 0, log
        *said, outputs = out.strip().splitlines()
        digest: str = json.loads(outputs)["weights"]
        return digest, "\n".join(said) + log


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, "home")
    yield machine
    machine.end()


def test_killed_step_goes_on_and_ends_with_the_digest_of_an_undisturbed_one(
    machine: Machine, tmp_path: Path
) -> None:
    process = machine.start(stop_at=3)
    wait_for(machine.stopped, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    store = FolderStore(machine.home / "store")
    assert store.list_records("") == []
    assert len(list((machine.home / "scratch").iterdir())) == 1

    digest, said = machine.finish()
    assert "starts at part 3" in said
    assert "step_resumes" in said
    assert list((machine.home / "scratch").iterdir()) == []
    assert {path.name for path in store.fetch(digest).iterdir()} == {
        "manifest.json",
        *(f"part-{index}" for index in range(NUM_PARTS)),
    }

    undisturbed, said = Machine(tmp_path, "other").finish()
    assert "starts at part 0" in said
    assert digest == undisturbed


def test_step_that_is_started_twice_at_once_runs_once(machine: Machine) -> None:
    first = machine.start(stop_at=2)
    wait_for(machine.stopped, first)
    second = machine.start()
    assert second.stderr is not None
    assert "step_waits_for_another_process" in second.stderr.readline()
    machine.go.touch()
    digest, _ = machine.result_of(first)
    waited, log = machine.result_of(second)
    assert waited == digest
    assert "step_reused" in log
    assert machine.runs.read_text() == "run\n"


def test_step_whose_twin_is_killed_takes_over(machine: Machine) -> None:
    first = machine.start(stop_at=2)
    wait_for(machine.stopped, first)
    second = machine.start()
    assert second.stderr is not None
    assert "step_waits_for_another_process" in second.stderr.readline()
    first.kill()
    first.communicate()
    _, said = machine.result_of(second)
    assert "starts at part 2" in said
