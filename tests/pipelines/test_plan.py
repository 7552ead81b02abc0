"""The planner on a hand-written graph: a chain of three tasks, records in a folder store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.code_digest import code_files, digest_of_files
from components.step_record import StepRecord, step_key, write_step_record
from pipelines.ir import PipelineSpec, parse_ir
from pipelines.plan import RunPlan, make_plan
from worldloom.store import FolderStore

ENTRIES = {"first": "worldloom.errors", "second": "worldloom.log", "third": "worldloom.errors"}


def _task(name: str, parents: dict[str, dict]) -> dict:
    own = {key: {"componentInputParameter": f"{name}_{key}"} for key in ("config", "code")}
    producers = {
        source["taskOutputParameter"]["producerTask"]
        for source in parents.values()
        if "taskOutputParameter" in source
    }
    return {
        "inputs": {"parameters": {**own, **parents}},
        "dependentTasks": sorted(producers),
        "componentRef": {"name": f"comp-{name}"},
    }


def _output(task: str, key: str) -> dict:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


@pytest.fixture
def spec() -> PipelineSpec:
    tasks = {
        "third": _task(
            "third",
            {
                "vae": _output("second", "vae"),
                "champion": {"componentInputParameter": "champion"},
                "mode": {"runtimeValue": {"constant": "strict"}},
            },
        ),
        "first": _task("first", {}),
        "second": _task("second", {"clips": _output("first", "clips")}),
    }
    defaults = {"parameters": {"champion": {"defaultValue": "", "parameterType": "STRING"}}}
    return parse_ir({"root": {"dag": {"tasks": tasks}, "inputDefinitions": defaults}})


class World:
    """A store, and steps that have finished in it."""

    def __init__(self, root: Path, spec: PipelineSpec) -> None:
        self.root = root
        self.store = FolderStore(root / "store")
        self.spec = spec
        self.code = {name: code_files(entry) for name, entry in ENTRIES.items()}
        self.configs: dict[str, dict] = {name: {"learner": {"rate": 1}} for name in ENTRIES}

    def put(self, text: str) -> str:
        folder = self.root / "files" / text
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "text.txt").write_text(text)
        return self.store.put(folder, kind="clips", config={}, parents={})

    def finish(self, step: str, parents: dict[str, str], outputs: dict[str, str]) -> None:
        files = code_files(ENTRIES[step])
        code = digest_of_files(files)
        config = self.configs[step]
        record = StepRecord(
            step=step,
            key=step_key(step, code, json.dumps(config), parents),
            config=config,
            parents=parents,
            code=code,
            code_files=files,
            outputs=outputs,
            seconds=12.5,
            started="2026-01-01T00:00:00+00:00",
            provenance={},
        )
        write_step_record(self.store, record)

    def finish_all(self) -> None:
        clips, vae = self.put("clips"), self.put("vae")
        self.finish("first", {}, {"clips": clips})
        self.finish("second", {"clips": clips}, {"vae": vae})
        parents = {"vae": vae, "champion": "", "mode": "strict"}
        self.finish("third", parents, {"report": self.put("report"), "verdict": "pass"})

    def plan(self, **arguments: str) -> RunPlan:
        values = {f"{name}_config": json.dumps(c) for name, c in self.configs.items()}
        values |= {f"{name}_code": "" for name in ENTRIES}
        return make_plan(self.spec, values | arguments, self.code, self.store)


@pytest.fixture
def world(tmp_path: Path, spec: PipelineSpec) -> World:
    return World(tmp_path, spec)


def _told(plan: RunPlan) -> list[tuple[str, str, str]]:
    return [(task.task, task.action, task.reason) for task in plan.tasks]


def test_nothing_has_run(world: World) -> None:
    assert _told(world.plan()) == [(name, "run", "first time") for name in ENTRIES]


def test_everything_is_there(world: World) -> None:
    world.finish_all()
    plan = world.plan()
    assert plan.is_complete
    assert [task.action for task in plan.tasks] == ["reuse"] * 3
    assert plan.output("third", "verdict") == "pass"
    assert plan.tasks[0].expected_seconds == 12.5


def test_a_changed_setting_is_named_and_those_after_it_are_undecided(world: World) -> None:
    world.finish_all()
    world.configs["second"] = {"learner": {"rate": 2}}
    assert _told(world.plan()) == [
        ("first", "reuse", "nothing it depends on changed"),
        ("second", "run", "config changed: learner.rate 1 -> 2"),
        ("third", "undecided", "decided when vae is there"),
    ]


def test_a_changed_source_is_named(world: World) -> None:
    world.finish_all()
    world.code["second"] = {**world.code["second"], "worldloom/log.py": "0" * 64}
    told = _told(world.plan())
    assert told[0][1] == "reuse"
    assert told[1] == ("second", "run", "code changed: worldloom/log.py")


def test_a_changed_argument_is_a_changed_parent(world: World) -> None:
    world.finish_all()
    told = _told(world.plan(champion="sha256:" + "0" * 64))
    assert told[2] == ("third", "run", "parent changed: champion")


def test_a_missing_artifact_is_named(world: World) -> None:
    world.finish_all()
    digest = world.plan().output("second", "vae")
    assert digest is not None
    folder = world.store.folder_of(digest)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    task, action, reason = _told(world.plan())[1]
    assert (task, action) == ("second", "run")
    assert reason.startswith("artifact missing: vae (sha256:")


def test_going_back_to_an_earlier_setting_reuses_it(world: World) -> None:
    world.finish_all()
    world.configs["first"] = {"learner": {"rate": 3}}
    world.finish("first", {}, {"clips": world.put("other")})
    world.configs["first"] = {"learner": {"rate": 1}}
    assert world.plan().is_complete
