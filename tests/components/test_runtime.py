"""How a step runs: reused or run, errors at its boundary, what is refused and what is kept."""

from __future__ import annotations

import errno
import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import pytest

from components import code_digest as digests
from components.runtime import (
    Step,
    StepContext,
    code_digest,
    execute,
    home_folder,
    run_step,
    step_key,
)
from components.step_record import read_latest_record, read_step_record
from worldloom.artifacts import MANIFEST_NAME
from worldloom.config import Config
from worldloom.errors import ArtifactError, ConfigError, MachineError, TrainingError
from worldloom.store import FolderStore

PARENT = "sha256:" + "1" * 64
ENTRY = "toysteps.toy"
SOURCE = '''"""A step that writes what it is told."""

from worldloom.errors import TrainingError

RUNS = []


def run(context):
    RUNS.append(context)
    if context.config.error == "training":
        raise TrainingError("loss is nan at step 3, expected a finite number")
    if context.config.error == "bug":
        raise KeyError("oops")
    if context.config.error == "native":
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    if context.config.error:
        raise OSError(int(context.config.error), "No")
    folder = context.fresh_folder("out")
    (folder / "text.txt").write_text(context.config.text)
    return {"weights": context.commit(folder, "clips"), "verdict": "pass"}
'''


class ToyConfig(Config):
    text: str = "hello"
    error: str = ""


STEP = Step(name="toy", config=ToyConfig, parents=("clips",), outputs=("weights", "verdict"))
Run = Callable[[StepContext[ToyConfig]], Mapping[str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "my home"
    monkeypatch.setenv("WORLDLOOM_HOME", str(home))
    for name in ("WORLDLOOM_STORE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def store(home: Path) -> FolderStore:
    return FolderStore(home / "store")


@pytest.fixture
def source(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert not home.exists()
    package = tmp_path / "sources" / "toysteps"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "toy.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(digests, "PROJECT_PACKAGES", (*digests.PROJECT_PACKAGES, "toysteps"))
    for name in (ENTRY, "toysteps"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return package / "toy.py"


@pytest.fixture
def runs(source: Path) -> list[StepContext[ToyConfig]]:
    module = __import__(ENTRY, fromlist=["RUNS"])
    assert module.__file__ == str(source)
    return cast("list[StepContext[ToyConfig]]", module.RUNS)


@pytest.fixture
def run(runs: list[object]) -> Run:
    assert runs == []
    return cast("Run", sys.modules[ENTRY].run)


def start(run: Run, config: str = "{}", *, code: str = "", parent: str = PARENT) -> dict[str, str]:
    return run_step(STEP, run, config=config, parents={"clips": parent}, code=code)


def test_second_call_is_answered_from_the_record(
    run: Run, runs: list[object], store: FolderStore
) -> None:
    first = start(run)
    assert first["verdict"] == "pass"
    assert (store.fetch(first["weights"]) / "text.txt").read_text() == "hello"
    assert start(run) == first
    assert start(run, '{"text": "hello"}', code=code_digest(ENTRY)) == first
    assert len(runs) == 1


def test_record_says_what_went_in_and_came_out(run: Run, home: Path, store: FolderStore) -> None:
    outputs = start(run)
    config = '{"error": "", "text": "hello"}'
    key = step_key("toy", code_digest(ENTRY), config, {"clips": PARENT})
    record = read_step_record(store, key)
    assert record is not None
    assert record == read_latest_record(store, "toy")
    assert record.outputs == outputs
    assert record.config == json.loads(config)
    assert record.parents == {"clips": PARENT}
    assert record.code == code_digest(ENTRY)
    assert "toysteps/toy.py" in record.code_files
    assert record.provenance["python"]
    assert store.manifest(outputs["weights"]).parents == {"clips": PARENT}
    assert store.manifest(outputs["weights"]).config == json.loads(config)
    assert list((home / "scratch").iterdir()) == []


def test_changed_config_parent_or_code_runs_again(
    run: Run, runs: list[object], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(run)
    changed = start(run, '{"text": "other"}')
    assert len(runs) == 2
    start(run, parent="sha256:" + "2" * 64)
    assert len(runs) == 3
    source.write_text(SOURCE + "#")
    start(run)
    assert len(runs) == 4
    source.write_text(SOURCE)
    assert start(run, '{"text": "other"}') == changed
    assert len(runs) == 4


def test_reused_step_is_the_latest_again(run: Run, store: FolderStore) -> None:
    start(run)
    start(run, '{"text": "other"}')
    start(run)
    latest = read_latest_record(store, "toy")
    assert latest is not None
    assert latest.config["text"] == "hello"


def test_code_that_does_not_change_the_result_gives_the_same_digest(run: Run, source: Path) -> None:
    first = start(run)
    source.write_text(SOURCE + "#")
    assert start(run) == first


def test_other_code_than_asked_for_is_refused(run: Run, runs: list[object]) -> None:
    with pytest.raises(MachineError, match=r"the code here has sha256:.* expected sha256:0000"):
        start(run, code="sha256:" + "0" * 64)
    assert runs == []


def test_removed_output_is_made_again(run: Run, runs: list[object], store: FolderStore) -> None:
    outputs = start(run)
    store.folder_of(outputs["weights"]).rename(store.root / "elsewhere")
    assert start(run) == outputs
    assert len(runs) == 2


def test_damaged_output_is_an_error_and_nothing_is_lost(run: Run, store: FolderStore) -> None:
    outputs = start(run)
    path = store.folder_of(outputs["weights"]) / "text.txt"
    path.chmod(0o644)
    path.write_text("jello")
    with pytest.raises(ArtifactError, match=r"text\.txt is damaged .* and step toy makes it again"):
        start(run)
    path.write_text("hello")
    (path.parent / MANIFEST_NAME).rename(store.root / "aside")
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        start(run)
    (store.root / "aside").rename(path.parent / MANIFEST_NAME)
    assert start(run) == outputs


def test_store_is_where_the_environment_says(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLDLOOM_STORE", (tmp_path / "other store").as_uri())
    outputs = start(run)
    assert FolderStore(tmp_path / "other store").has(outputs["weights"])
    assert not (home_folder() / "store").exists()


@pytest.mark.parametrize(
    ("config", "parents", "reason"),
    [
        ('{"txt": "a"}', {"clips": PARENT}, r"toy\.txt: no such setting"),
        ("{", {"clips": PARENT}, "toy: not JSON"),
        ("{}", {}, r"toy: inputs \[\], expected \['clips'\]"),
        ("{}", {"clips": PARENT, "more": PARENT}, "inputs"),
        ("{}", {"clips": "latest"}, "input clips is 'latest', expected a sha256: digest"),
    ],
)
def test_bad_config_and_inputs_are_one_sentence(
    run: Run, home: Path, config: str, parents: dict[str, str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        run_step(STEP, run, config=config, parents=parents, code="")
    assert not home.exists()


@pytest.mark.parametrize(
    ("error", "exit_code", "name"),
    [
        ("training", 10, "TrainingError"),
        (str(errno.ENOSPC), 4, "StoreError"),
        ("native", 4, "StoreError"),
        ("bug", 1, None),
        (str(errno.EACCES), 1, None),
    ],
)
def test_error_becomes_a_log_line_and_an_exit_code(
    run: Run,
    home: Path,
    caplog: pytest.LogCaptureFixture,
    error: str,
    exit_code: int,
    name: str | None,
) -> None:
    with pytest.raises(SystemExit) as caught:
        execute(STEP, run, config=json.dumps({"error": error}), parents={"clips": PARENT}, code="")
    assert caught.value.code == exit_code
    lines = [line for line in caplog.records if line.levelno >= logging.ERROR]
    assert len(lines) == 1
    if name is not None:
        assert lines[0].getMessage() == "step_failed"
        assert lines[0].__dict__["worldloom_fields"]["error"] == name
        assert type(caught.value.__cause__).__name__ == name
    assert len(list((home / "scratch").iterdir())) == 1
    assert not (home / "store" / "records").exists()


def test_failed_step_can_run_again(run: Run, runs: list[StepContext[ToyConfig]]) -> None:
    with pytest.raises(TrainingError):
        start(run, '{"error": "training"}')
    (runs[0].scratch / "progress").write_text("half")
    with pytest.raises(TrainingError):
        start(run, '{"error": "training"}')
    assert (runs[1].scratch / "progress").read_text() == "half"


def test_outputs_other_than_promised_are_a_bug(run: Run) -> None:
    less = Step(name="less", config=ToyConfig, parents=("clips",), outputs=("weights",))
    with pytest.raises(ValueError, match="returned"):
        run_step(less, run, config="{}", parents={"clips": PARENT}, code="")


def test_context_fetches_verified_inputs(run: Run, runs: list[StepContext[ToyConfig]]) -> None:
    made = start(run)["weights"]
    start(run, parent=made)
    context = runs[1]
    assert (context.folder("clips") / "text.txt").read_text() == "hello"
    with pytest.raises(ArtifactError, match="not in the store"):
        runs[0].folder("clips")


def test_context_without_an_optional_input(
    run: Run, runs: list[StepContext[ToyConfig]], store: FolderStore
) -> None:
    outputs = start(run, parent="")
    assert store.manifest(outputs["weights"]).parents == {}
    with pytest.raises(ArtifactError, match="'clips': no artifact was given"):
        runs[0].folder("clips")


def test_context_commits_with_further_parents(
    run: Run, runs: list[StepContext[ToyConfig]], store: FolderStore
) -> None:
    made = start(run)["weights"]
    folder = runs[0].fresh_folder("out")
    (folder / "a").write_text("a")
    digest = runs[0].commit(folder, "release", {"quantized": made})
    assert store.manifest(digest).parents == {"clips": PARENT, "quantized": made}


def test_fresh_folder_forgets_what_was_in_it(run: Run, runs: list[StepContext[ToyConfig]]) -> None:
    start(run)
    folder = runs[0].fresh_folder("out")
    (folder / "leftover").write_text("x")
    assert list(runs[0].fresh_folder("out").iterdir()) == []
