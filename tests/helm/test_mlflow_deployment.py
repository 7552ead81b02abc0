"""The tracking server."""

from __future__ import annotations

import pytest


def container(manifests) -> dict:
    [manifest] = manifests
    [found] = manifest["spec"]["template"]["spec"]["containers"]
    return found


def environment(manifests) -> dict:
    return {entry["name"]: entry for entry in container(manifests)["env"]}


def test_one_writer_at_a_time(render) -> None:
    [manifest] = render()
    assert manifest["spec"]["replicas"] == 1
    assert manifest["spec"]["strategy"] == {"type": "Recreate"}
    assert "--workers=1" in container([manifest])["args"]


@pytest.mark.slow
def test_mlflow_knows_every_option(render) -> None:
    from mlflow.cli import server  # seconds, which other tests' processes need not spend

    known = {name for parameter in server.params for name in parameter.opts}
    for argument in container(render())["args"]:
        assert argument.partition("=")[0] in known


def test_sqlite_lies_on_the_volume(render) -> None:
    found = container(render())
    uri = environment(render())["MLFLOW_BACKEND_STORE_URI"]["value"]
    [data] = [m["mountPath"] for m in found["volumeMounts"] if m["name"] == "data"]
    assert uri == f"sqlite:///{data}/mlflow.db"
    assert f"--artifacts-destination={data}/artifacts" in found["args"]


def test_postgres_comes_from_a_secret(render) -> None:
    database = {
        "kind": "postgres",
        "secret": "tracking-database",
        "addresses": [{"cidr": "10.1.0.0/16", "port": 5432}],
    }
    uri = environment(render({"mlflow": {"database": database}}))["MLFLOW_BACKEND_STORE_URI"]
    assert uri["valueFrom"]["secretKeyRef"]["name"] == "tracking-database"
    assert uri["valueFrom"]["secretKeyRef"]["key"] == "uri"


@pytest.mark.parametrize(
    "host",
    [
        "demo-worldloom-mlflow:5000",
        "demo-worldloom-mlflow.worlds:5000",
        "demo-worldloom-mlflow.worlds.svc.cluster.local:5000",
        "localhost:5000",
        "mlflow.example.org",
    ],
)
def test_clients_are_answered_under_each_of_its_names(render, host) -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    args = container(render({"mlflow": {"allowedHosts": ["mlflow.example.org"]}}))["args"]
    [hosts] = [arg.partition("=")[2] for arg in args if arg.startswith("--allowed-hosts=")]
    assert is_allowed_host_header(hosts.split(","), host)
    assert not is_allowed_host_header(hosts.split(","), "evil.example.org:5000")


def test_it_calls_nobody_and_runs_no_jobs(render) -> None:
    found = environment(render())
    assert found["MLFLOW_DISABLE_TELEMETRY"]["value"] == "true"
    assert found["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"]["value"] == "false"


def test_no_server_when_the_cluster_has_one(render) -> None:
    assert render({"mlflow": {"enabled": False}}) == []
