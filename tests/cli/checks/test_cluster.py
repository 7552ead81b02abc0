"""The preflight against a small API server that the test itself serves over HTTP.

It speaks the few answers that the preflight asks for, in the real API's JSON, through the real
`kubernetes` client; it is no Kubernetes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.checks.check import Check, State
from cli.checks.cluster import RIGHTS, check_cluster
from services.processes import free_port

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "http://127.0.0.1:PORT"}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
users: [{name: test, user: {token: secret}}]
"""


@dataclass
class FakeApi:
    minor: str = "31+"
    status: int = 200
    denied: set[str] = field(default_factory=set)
    gpus: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=lambda: {"worldloom"})
    nodes_status: int = 200
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        self.requests.append(f"{method} {path}")
        if self.status != 200:
            return self.status, {"kind": "Status", "code": self.status}
        if path == "/version/":
            return 200, {
                "major": "1",
                "minor": self.minor,
                "gitVersion": f"v1.{self.minor}",
                "gitCommit": "x",
                "gitTreeState": "clean",
                "buildDate": "x",
                "goVersion": "x",
                "compiler": "gc",
                "platform": "linux/amd64",
            }
        if path.startswith("/api/v1/namespaces/"):
            name = path.rsplit("/", 1)[1]
            found = name in self.namespaces
            return (200, {"metadata": {"name": name}}) if found else (404, {"code": 404})
        if path.endswith("/selfsubjectaccessreviews"):
            wish = body["spec"]["resourceAttributes"]
            body["status"] = {"allowed": wish["resource"] not in self.denied}
            return 201, body
        if path == "/api/v1/nodes":
            items = [
                {"metadata": {"name": f"n{i}"}, "status": {"allocatable": {"nvidia.com/gpu": gpu}}}
                for i, gpu in enumerate(self.gpus)
            ]
            return self.nodes_status, {"kind": "NodeList", "items": items}
        groups = [
            {
                "name": name,
                "versions": [{"groupVersion": f"{name}/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": f"{name}/v1", "version": "v1"},
            }
            for name in self.groups
        ]
        return 200, {"kind": "APIGroupList", "groups": groups}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else {}
            fake.tokens.add(self.headers.get("Authorization", ""))
            status, value = fake.answer(self.command, self.path, body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = reply  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_config(tmp_path, monkeypatch, server.server_address[1])
    yield fake
    server.shutdown()
    server.server_close()


def use_config(folder: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    path = folder / "config"
    path.write_text(KUBECONFIG.replace("PORT", str(port)))
    monkeypatch.setenv("KUBECONFIG", str(path))


def states(checks: list[Check]) -> dict[str, State]:
    return {check.name: check.state for check in checks}


def test_a_cluster_with_everything_passes_and_nothing_is_created(api: FakeApi) -> None:
    api.gpus = ["8", "0"]
    api.groups = [
        "keda.sh",
        "ray.io",
        "argoproj.io",
        "trainer.kubeflow.org",
        "monitoring.coreos.com",
    ]
    checks = check_cluster(namespace="worldloom")
    assert set(states(checks).values()) == {State.OK}
    found = {check.name: check.found for check in checks}
    assert found["cluster gpus"] == "8 on 1 of 2 nodes"
    assert found["cluster rights"] == f"all {len(RIGHTS)} that are needed in worldloom"
    posts = {request for request in api.requests if not request.startswith("GET")}
    assert posts == {"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"}
    assert api.tokens == {"Bearer secret"}


def test_missing_rights_are_listed(api: FakeApi) -> None:
    api.denied = {"secrets", "jobs"}
    rights = next(c for c in check_cluster(namespace="worldloom") if c.name == "cluster rights")
    assert rights.state is State.FAIL
    assert rights.found == "may not: create jobs, create secrets"
    assert "namespace worldloom" in rights.mend


def test_an_old_server_and_a_missing_namespace_fail(api: FakeApi) -> None:
    api.minor = "24"
    found = states(check_cluster(namespace="elsewhere"))
    assert found["cluster api"] is State.FAIL
    assert found["cluster namespace"] is State.FAIL


def test_no_gpus_and_no_extensions_only_warn(api: FakeApi) -> None:
    api.gpus = ["0"]
    found = states(check_cluster(namespace="worldloom"))
    assert found["cluster gpus"] is State.WARN
    assert found["KEDA (optional)"] is State.WARN
    api.nodes_status = 403
    assert states(check_cluster(namespace="worldloom"))["cluster gpus"] is State.WARN


def test_a_token_that_is_over_fails_with_what_to_do(api: FakeApi) -> None:
    api.status = 401
    checks = check_cluster(namespace="worldloom")
    refused = next(check for check in checks if check.name == "cluster api")
    assert (refused.state, refused.mend) == (State.FAIL, "log in again")


def test_an_api_server_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_config(tmp_path, monkeypatch, free_port())
    checks = check_cluster(namespace="worldloom")
    assert [check.state for check in checks] == [State.OK, State.FAIL]
    assert "Connection refused" in checks[1].found


def test_no_configuration_is_fine_unless_a_cluster_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert states(check_cluster(namespace="w"))["cluster"] is State.OK
    assert states(check_cluster(namespace="w", needed=True))["cluster"] is State.FAIL


def test_a_damaged_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("clusters: {")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    [check] = check_cluster(namespace="w")
    assert check.state is State.FAIL
    assert str(tmp_path / "config") in check.found
