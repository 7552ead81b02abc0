"""The guard against a real MLflow server: rivals, kills, hands from outside, a dead server."""

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

from components.tracking import MlflowTracker, open_client, step_run
from services.processes import free_port
from services.registry import DEFAULT_ALIAS, current_champion
from services.registry.audit import AuditLog
from services.registry.mlflow_models import MlflowModels
from services.registry.promotion import Guard
from services.tracking_server import TrackingServer
from worldloom.errors import PromotionError, TrackingError
from worldloom.store import FolderStore

ROOT = Path(__file__).resolve().parents[2]
PROMOTER = """
import sys, time
from components.tracking import open_client
from services.registry.mlflow_models import MlflowModels
from services.registry.promotion import Guard
from worldloom.errors import PromotionError
from worldloom.store import open_store

uri, model, store, release, report, mode = sys.argv[1:]
models = MlflowModels(open_client(uri), model)
guard = Guard(open_store(store), models, actor="rival", model=model)
if mode == "hang":
    def hang(alias, version):
        print("hanging", flush=True)
        time.sleep(600)
    models.set_alias = hang
print("ready", flush=True)
sys.stdin.readline()
try:
    print(guard.promote(release, report).decision, flush=True)
except PromotionError as error:
    print("lost:", error, flush=True)
"""


class Bench:
    """A model name of its own on the shared server, and a store of its own."""

    def __init__(self, uri: str, name: str, folder: Path) -> None:
        self.uri = uri
        self.name = name
        self.folder = folder
        self.store = FolderStore(folder / "a store")
        self.client = open_client(uri)
        self.models = MlflowModels(self.client, name)
        self.guard = Guard(self.store, self.models, actor="tester", model=name)

    def artifact(self, kind: str, file: str, text: str, parents: dict[str, str]) -> str:
        folder = self.folder / "work" / kind / str(abs(hash(text + str(parents))))
        folder.mkdir(parents=True)
        (folder / file).write_text(text)
        return self.store.put(folder, kind=kind, config={}, parents=parents)  # type: ignore[arg-type]

    def judged(self, text: str, champion: str = "") -> tuple[str, str]:
        release = self.artifact("release", "weights.bin", text, {})
        parents = {"release": release} | ({"champion": champion} if champion else {})
        value = json.dumps({"verdict": "pass", "reasons": ["better"]})
        return release, self.artifact("evaluation-report", "report.json", value, parents)

    def start_promoter(self, release: str, report: str, mode: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", PROMOTER, self.uri, self.name, self.store.uri]
        return subprocess.Popen(
            [*argv, release, report, mode],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with TrackingServer(tmp_path_factory.mktemp("a home")) as running:
        yield running


@pytest.fixture
def bench(server: TrackingServer, tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    name = request.node.name.replace("_", "-").removeprefix("test-")[:60]
    return Bench(server.uri, name, tmp_path)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_of_three_processes_exactly_one_promotes(bench: Bench) -> None:
    first = bench.guard.promote(*bench.judged("one"))
    judged = [bench.judged(f"rival {n}", first.release) for n in range(3)]
    rivals = [bench.start_promoter(*pair, "race") for pair in judged]
    assert [line_of(rival) for rival in rivals] == ["ready"] * 3
    for rival in rivals:
        let_go(rival)
    said = [line_of(rival) for rival in rivals]
    for rival in rivals:
        rival.communicate()
    assert sorted(line.split(":")[0] for line in said) == ["lost", "lost", "promoted"]
    winner = judged[said.index("promoted")][0]
    champion = bench.guard.checked_champion()
    assert champion is not None
    assert champion.release == winner
    assert len(bench.models.versions()) == 2


def test_a_killed_promoter_is_finished_by_the_next_at_once(bench: Bench) -> None:
    release, report = bench.judged("one")
    killed = bench.start_promoter(release, report, "hang")
    assert line_of(killed) == "ready"
    let_go(killed)
    assert line_of(killed) == "hanging"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert bench.models.alias(DEFAULT_ALIAS) == ""
    with pytest.raises(PromotionError, match="begun and not finished"):
        bench.guard.checked_champion()
    started = time.monotonic()
    assert bench.guard.promote(release, report).decision == "already-champion"
    assert time.monotonic() - started < 20
    assert bench.models.alias(DEFAULT_ALIAS) == "1"
    assert len(bench.models.versions()) == 1


def test_an_alias_that_was_moved_by_hand_is_noticed_and_mended(bench: Bench) -> None:
    first = bench.guard.promote(*bench.judged("one"))
    second = bench.guard.promote(*bench.judged("two", first.release))
    bench.client.set_registered_model_alias(bench.name, DEFAULT_ALIAS, "1")
    third = bench.judged("three", second.release)
    with pytest.raises(PromotionError, match="somebody moved it from outside"):
        bench.guard.promote(*third)
    assert bench.guard.restore() == current_champion(bench.store, bench.name)
    assert bench.guard.promote(*third).version == "3"
    bench.client.delete_registered_model_alias(bench.name, DEFAULT_ALIAS)
    with pytest.raises(PromotionError, match="points to version none"):
        bench.guard.checked_champion()
    assert bench.guard.adopt() is None
    assert bench.models.version("9") is None


def test_rollback_and_lineage_on_the_server(bench: Bench) -> None:
    first = bench.guard.promote(*bench.judged("one"))
    bench.guard.promote(*bench.judged("two", first.release), commit="c0ffee")
    version = bench.models.versions()[1]
    assert version.tags["git_sha"] == "c0ffee"
    assert version.tags["predecessor_release_digest"] == first.release
    assert version.source.startswith("worldloom-store:///")
    assert bench.guard.rollback(reason="blurry").release == first.release
    assert bench.models.alias(DEFAULT_ALIAS) == "1"


def test_a_tampered_audit_log_stops_everything(bench: Bench) -> None:
    first = bench.guard.promote(*bench.judged("one"))
    path = bench.store.root / f"records/audit/{bench.name}/00000002.json"
    value = json.loads(path.read_text())
    value["move"]["actor"] = "somebody else"
    path.write_text(json.dumps(value))
    with pytest.raises(PromotionError, match="entry 2 does not have the hash"):
        AuditLog(bench.store, bench.name).entries()
    with pytest.raises(PromotionError, match="tampered"):
        bench.guard.promote(*bench.judged("two", first.release))


def test_a_step_that_runs_again_goes_on_in_its_run(server: TrackingServer, tmp_path: Path) -> None:
    client = open_client(server.uri)
    parent = client.create_run(client.create_experiment("nested"))
    env = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_RUN_ID": parent.info.run_id}
    (tmp_path / "loss.csv").write_text("step,loss\n")
    interrupted = pytest.raises(KeyboardInterrupt)
    with interrupted, step_run("train_vae", key="k1", parents={"clips": "c"}, env=env) as first:
        first.tracker.log_metrics({"loss": 2.0}, step=1)
        raise KeyboardInterrupt
    assert client.get_run(first.run_id).info.status == "KILLED"
    with step_run("train_vae", key="k1", parents={"clips": "c"}, env=env) as second:
        second.tracker.log_params({"learning_rate": 1e-3})
        second.tracker.log_metrics({"loss": 1.0}, step=2)
        second.tracker.log_file(tmp_path / "loss.csv", "curves")
        second.record_outputs({"vae": "sha256:1"})
    assert second.run_id == first.run_id
    run = client.get_run(second.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.tags["worldloom.parent.clips"] == "c"
    assert run.data.tags["worldloom.output.vae"] == "sha256:1"
    assert [metric.value for metric in client.get_metric_history(second.run_id, "loss")] == [2, 1]
    assert [file.path for file in client.list_artifacts(second.run_id, "curves")] == [
        "curves/loss.csv"
    ]
    with step_run("train_vae", key="k2", parents={}, env=env) as other:
        assert other.run_id != first.run_id
    given = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_RUN_ID": other.run_id}
    with step_run("evaluate", key="k3", parents={}, env=given) as own:
        assert own.run_id == other.run_id


def test_a_server_that_dies_is_one_sentence_within_seconds(tmp_path: Path) -> None:
    home = tmp_path / "home"
    server = TrackingServer(home)
    uri = server.start()
    tracker = MlflowTracker(open_client(uri), open_client(uri).create_run("0").info.run_id)
    assert server.stop()
    started = time.monotonic()
    with pytest.raises(TrackingError, match="metrics of step 7"):
        tracker.log_metrics({"loss": 1.0}, step=7)
    with pytest.raises(TrackingError, match="does not answer"):
        open_client(uri)
    assert time.monotonic() - started < 15


def test_two_starters_at_once_get_one_server(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first, second = TrackingServer(home), TrackingServer(home, port=free_port())
    first.launch()
    second.launch()
    try:
        assert first.wait() == second.wait()
        with TrackingServer(home) as third:
            assert third.uri == first.uri
        assert first.uri == second.uri
    finally:
        assert first.stop()
        second.stop()
    with pytest.raises(TrackingError, match="no tracking server runs"):
        _ = first.uri


def test_a_damaged_database_is_named_with_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(b"this is not a database" * 100)
    server = TrackingServer(tmp_path)
    try:
        with pytest.raises(TrackingError, match=r"mlflow.db is damaged .*server.log"):
            server.start()
    finally:
        server.stop()
