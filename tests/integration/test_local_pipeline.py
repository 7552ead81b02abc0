"""A pipeline of three small steps, run for real: `kfp.local`, subprocesses, a store in a folder.

The project's sources are linked into a temporary folder (with a space in its path) beside the
steps of this test, so that a source can be changed without touching the project.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = "pipelines.counting:DEFINITION"

COMPONENT = """
from typing import NamedTuple
from kfp import dsl

IMAGE = "worldloom/counting"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def first(
    config: str, code: str, clips_artifact: dsl.Output[dsl.Artifact]
) -> NamedTuple("Outputs", [("clips", str)]):
    from components.launch import launch

    return launch(
        "components.counting.first", config=config, code=code, parents={},
        lineage={"clips": clips_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def second(
    config: str, code: str, clips: str
) -> NamedTuple("Outputs", [("latents", str), ("note", str)]):
    from components.launch import launch

    return launch(
        "components.counting.second", config=config, code=code, parents={"clips": clips},
        lineage={},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def third(
    config: str, code: str, clips: str, latents: str, champion: str
) -> NamedTuple("Outputs", [("release", str)]):
    from components.launch import launch

    return launch(
        "components.counting.third", config=config, code=code,
        parents={"clips": clips, "latents": latents, "champion": champion}, lineage={},
    )
"""

STEP = """
import time
from pydantic import Field
from components.runtime import Step
from worldloom.config import Config
from worldloom.errors import DataError


class CountConfig(Config):
    text: str = Field(default="one", description="what is written")
    num_ticks: int = Field(default=2, description="how long it works")
    is_broken: bool = Field(default=False, description="fail")


STEP = Step(name="{name}", config=CountConfig, parents={parents}, outputs={outputs})


def run(context):
    print("{name} says hello")
    if context.config.is_broken:
        raise DataError("the third clip has no frames, expected at least one")
    ticks = context.scratch / "ticks"
    while not ticks.exists() or len(ticks.read_text()) < context.config.num_ticks:
        with ticks.open("a") as file:
            file.write(".")
        time.sleep(0.1)
    folder = context.fresh_folder("result")
    (folder / "text.txt").write_text(context.config.text + ticks.read_text())
    return {{"{output}": context.commit(folder, "{output}"), **{extra}}}
"""

GRAPH = """
from kfp import dsl
from components.counting import component
from pipelines.definition import PipelineDefinition

DEFINITION = PipelineDefinition(
    name="counting",
    module="pipelines.counting",
    entries={t: f"components.counting.{t}" for t in ("first", "second", "third")},
    arguments={"champion": ""},
)


def build(profile):
    @dsl.pipeline(name="counting")
    def counting(
        first_config: str, first_code: str, second_config: str, second_code: str,
        third_config: str, third_code: str, champion: str = "",
    ) -> None:
        first = component.first(config=first_config, code=first_code)
        clips = first.outputs["clips"]
        second = component.second(config=second_config, code=second_code, clips=clips)
        component.third(
            config=third_config, code=third_code, clips=clips,
            latents=second.outputs["latents"], champion=champion,
        )
    return counting
"""


class Project:
    """The project's sources with three steps added, a home, and the command line on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.env = {
            **os.environ,
            "PYTHONPATH": str(root),
            "WORLDLOOM_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
        }
        self.env.pop("WORLDLOOM_STORE", None)
        self.env.pop("MLFLOW_TRACKING_URI", None)
        for package in ("worldloom", "services", "cli"):
            (root / package).symlink_to(ROOT / package)
        for package in ("components", "pipelines"):
            (root / package).mkdir()
            for path in (ROOT / package).iterdir():
                if path.name != "__pycache__":
                    (root / package / path.name).symlink_to(path)
        counting = root / "components" / "counting"
        counting.mkdir()
        (counting / "__init__.py").write_text('"""Steps that count."""\n')
        (counting / "component.py").write_text(COMPONENT)
        self._write_step("first", (), "clips")
        self._write_step("second", ("clips",), "latents", {"note": ""})
        self._write_step("third", ("clips", "latents", "champion"), "release")
        (root / "pipelines" / "counting.py").write_text(GRAPH)

    def _write_step(
        self, name: str, parents: tuple[str, ...], output: str, extra: dict[str, str] | None = None
    ) -> None:
        extra = extra or {}
        text = STEP.format(
            name=name, parents=parents, outputs=(output, *extra), output=output, extra=extra
        )
        (self.root / "components" / "counting" / f"{name}.py").write_text(text)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "cli.main", "pipeline", *arguments]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments), env=self.env, cwd=self.root, capture_output=True, text=True,
            check=False, timeout=240,
        )  # fmt: skip

    def run(self, *settings: str) -> dict[str, object]:
        answer = self.call(
            "run", "--pipeline", PIPELINE, "--no-tracking", "--output", "json",
            *[part for setting in settings for part in ("--set", setting)],
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr + self.call("logs").stdout
        return json.loads(answer.stdout)

    def tasks(self, run: dict[str, object]) -> dict[str, dict[str, object]]:
        return {task["task"]: task for task in run["tasks"]}  # type: ignore[attr-defined,index]

    def start_in_background(self, *settings: str) -> Path:
        answer = self.call(
            "run", "--pipeline", PIPELINE, "--no-tracking", "--output", "json", "--detach",
            *[part for setting in settings for part in ("--set", setting)],
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        return Path(json.loads(answer.stdout)["folder"])

    def wait_for_tick(self, folder: Path, task: str) -> dict[str, object]:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            path = folder / "tasks" / task / "status.json"
            status = json.loads(path.read_text())
            if status["state"] == "running" and any(self.home.glob("scratch/*/ticks")):
                return status
            time.sleep(0.2)
        pytest.fail(f"{task} did not begin: {(folder / 'run.log').read_text()}")


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "a project"
    root.mkdir()
    return Project(root)


@pytest.mark.timeout(600)
def test_only_what_changed_runs_again(project: Project) -> None:
    first = project.tasks(project.run())
    assert [t["reused"] for t in first.values()] == [False, False, False]
    assert {t["reason"] for t in first.values()} == {"first time"}
    log = project.call("logs", "latest", "second").stdout
    assert "second says hello" in log

    before = _cpu_seconds_of_children()
    again = project.tasks(project.run())
    assert [t["reused"] for t in again.values()] == [True, True, True]
    assert _cpu_seconds_of_children() - before < 5  # wall time depends on the neighbours
    runs = sorted((project.home / "runs").iterdir())
    assert not (runs[-1] / "runner.json").exists()
    assert [t["outputs"] for t in again.values()] == [t["outputs"] for t in first.values()]

    changed = project.tasks(project.run('second.text="two"'))
    assert changed["first"]["reused"]
    assert changed["second"]["reason"] == 'config changed: text "one" -> "two"'
    assert changed["third"]["reason"] == "parent changed: latents"

    source = project.root / "components" / "counting" / "third.py"
    source.write_text(source.read_text() + "\n")
    answer = project.call("explain", "--pipeline", PIPELINE, "--output", "json")
    actions = {row["task"]: row for row in json.loads(answer.stdout)}
    assert [row["action"] for row in actions.values()] == ["reuse", "reuse", "run"]
    assert actions["third"]["reason"] == "code changed: components/counting/third.py"
    after = project.tasks(project.run())
    assert [t["reused"] for t in after.values()] == [True, True, False]
    assert after["third"]["outputs"] == first["third"]["outputs"]

    profile = project.root / "profile.json"
    profile.write_text('{"resources": {"second": {"memory": "64Gi"}}, "queue": "gpus"}')
    said = project.call(
        "run", "--pipeline", PIPELINE, "--no-tracking", "--profile", str(profile)
    ).stdout
    assert "not applied on this machine: CPU and memory limits of second" in said
    assert "not applied on this machine: queue gpus" in said
    _fire_a_schedule(project)


def _fire_a_schedule(project: Project) -> None:
    added = project.call("schedule", "add", "often", "--cron", "0 6 * * *", "--pipeline", PIPELINE)
    assert added.returncode == 0, added.stderr
    script = """
from datetime import UTC, datetime, timedelta
from components.runtime import home_folder
from pipelines.schedule_loop import LocalRunStarter, run_schedules


class JumpingClock:
    time = datetime(2026, 5, 4, tzinfo=UTC)

    def now(self):
        return self.time

    def wait(self, seconds):
        self.time += timedelta(seconds=seconds + 600)


run_schedules(
    home_folder(), LocalRunStarter(home_folder(), str(home_folder() / "store")),
    clock=JumpingClock(), report=lambda schedule, state: print(state.outcome), max_fires=1,
)
"""
    fired = subprocess.run(
        [sys.executable, "-c", script], env=project.env, cwd=project.root, capture_output=True,
        text=True, check=False, timeout=240,
    )  # fmt: skip
    assert fired.returncode == 0, fired.stderr
    (run_id,) = [line.removeprefix("started run ") for line in fired.stdout.splitlines()]
    status = json.loads(project.call("status", run_id, "--output", "json").stdout)
    assert status["state"] == "done"
    assert all(task["reused"] for task in status["tasks"])


@pytest.mark.timeout(600)
def test_a_killed_step_goes_on_where_it_was(project: Project, tmp_path: Path) -> None:
    folder = project.start_in_background("second.num_ticks=40")
    pid = project.wait_for_tick(folder, "second")["pid"]
    os.kill(int(str(pid)), signal.SIGKILL)
    watched = project.call("watch", folder.name)
    assert watched.returncode == 137
    assert "second failed: it was killed" in watched.stderr
    (ticks,) = project.home.glob("scratch/*/ticks")
    done_before = len(ticks.read_text())
    assert 0 < done_before < 40

    answer = project.call("resume", folder.name, "--no-tracking", "--output", "json")
    assert answer.returncode == 0, answer.stderr
    resumed = project.tasks(json.loads(answer.stdout))
    assert resumed["first"]["reused"]
    assert not resumed["second"]["reused"]
    other = tmp_path / "undisturbed"
    other.mkdir()
    undisturbed = Project(other)
    expected = undisturbed.tasks(undisturbed.run("second.num_ticks=40"))
    assert resumed["third"]["outputs"] == expected["third"]["outputs"]


@pytest.mark.timeout(600)
def test_a_killed_runner_takes_its_step_with_it(project: Project) -> None:
    folder = project.start_in_background("first.num_ticks=600")
    pid = int(str(project.wait_for_tick(folder, "first")["pid"]))
    os.kill(json.loads((folder / "runner.json").read_text())["pid"], signal.SIGKILL)
    step = psutil.Process(pid) if psutil.pid_exists(pid) else None
    if step is not None:
        psutil.wait_procs([step], timeout=20)
    assert step is None or not step.is_running()
    status = json.loads(project.call("status", "latest", "--output", "json").stdout)
    assert status["state"] == "killed"


@pytest.mark.timeout(600)
def test_cancel_ends_one_run_and_nothing_else(project: Project) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    try:
        folder = project.start_in_background("first.num_ticks=600")
        pid = int(str(project.wait_for_tick(folder, "first")["pid"]))
        twin = project.call(
            "run", "--pipeline", PIPELINE, "--no-tracking", "--set", "first.num_ticks=600"
        )
        assert twin.returncode == 9
        assert "under way" in twin.stderr
        answer = project.call("cancel", folder.name)
        assert answer.returncode == 0, answer.stderr
        assert not psutil.pid_exists(pid)
        assert bystander.poll() is None
        status = json.loads(project.call("status", "latest", "--output", "json").stdout)
        assert status["state"] == "cancelled"
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.timeout(600)
def test_a_failing_step_is_told_in_one_sentence(project: Project) -> None:
    answer = project.call(
        "run", "--pipeline", PIPELINE, "--no-tracking", "--set", "second.is_broken=true"
    )
    assert answer.returncode == 5
    assert "DataError: the third clip has no frames" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "worldloom pipeline logs" in answer.stdout

    mistyped = project.call("run", "--pipeline", PIPELINE, "--set", "second.txt=1")
    assert mistyped.returncode == 2
    assert mistyped.stderr.count("\n") == 1
    assert "second.txt: no such setting" in mistyped.stderr


@pytest.mark.timeout(600)
def test_a_missing_artifact_is_made_again_and_a_damaged_one_is_refused(project: Project) -> None:
    first = project.tasks(project.run())
    digest = str(first["second"]["outputs"]["latents"])  # type: ignore[index]
    folder = project.home / "store" / "artifacts" / digest.removeprefix("sha256:")
    text = folder / "text.txt"
    text.chmod(0o644)
    content = text.read_bytes()
    text.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    damaged = project.call("run", "--pipeline", PIPELINE, "--no-tracking")
    assert damaged.returncode == 3
    assert "text.txt" in damaged.stderr
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    again = project.tasks(project.run())
    assert again["second"]["reason"].startswith("artifact missing: latents")  # type: ignore[union-attr]
    assert again["third"]["reused"]
    assert again["second"]["outputs"] == first["second"]["outputs"]
