"""The gateway's pods: settings, secrets, a way out for the players on them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import httpx
import pytest

from services.gateway.settings import SECRET_VARIABLE
from services.processes import LOOPBACK, ManagedProcess, free_port


def pod(manifests) -> dict:
    [manifest] = manifests
    return manifest["spec"]["template"]["spec"]


def environment(manifests) -> dict:
    [gateway] = pod(manifests)["containers"]
    return {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in gateway["env"]}


def test_two_replicas_and_none_is_missed_while_they_are_replaced(render) -> None:
    [manifest] = render()
    assert manifest["spec"]["replicas"] == 2
    assert manifest["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_what_is_secret_comes_from_secrets_that_exist(render) -> None:
    references = environment(render())
    assert references[SECRET_VARIABLE] == {
        "name": "token-secret",
        "key": "secret",
        "optional": False,
    }
    assert references["WORLDLOOM_GATEWAY_KEYS"] == {
        "name": "api-keys",
        "key": "keys.json",
        "optional": False,
    }
    [gateway] = pod(render())["containers"]
    assert "--set=keys=$(WORLDLOOM_GATEWAY_KEYS)" in gateway["args"]


def test_keys_may_stand_in_the_settings(render) -> None:
    keys = [{"key_id": "demo", "sha256": "0" * 64}]
    found = render({"gateway": {"keysSecret": "", "settings": {"keys": keys}}})
    assert set(environment(found)) == {SECRET_VARIABLE}
    [gateway] = pod(found)["containers"]
    assert not [argument for argument in gateway["args"] if "--set" in argument]


def test_it_reads_the_settings_of_its_config_map(render, render_all) -> None:
    found = pod(render())
    [gateway] = found["containers"]
    [settings] = [volume for volume in found["volumes"] if volume["name"] == "settings"]
    [config_map] = render_all()["gateway-config-map.yaml"]
    assert settings["configMap"]["name"] == config_map["metadata"]["name"]
    [mount] = [mount for mount in gateway["volumeMounts"] if mount["name"] == "settings"]
    [file] = config_map["data"]
    assert f"--config={mount['mountPath']}/{file}" in gateway["args"]


def test_other_settings_are_other_pods(render) -> None:
    def annotations(values=None):
        [manifest] = render(values)
        return manifest["spec"]["template"]["metadata"]["annotations"]

    assert annotations() == annotations({"gateway": {"replicas": 3}})
    assert annotations() != annotations({"gateway": {"settings": {"queue_seconds": 5}}})


@pytest.mark.parametrize("drain_seconds", [0, 30, 600.5])
def test_grace_covers_leaving_draining_and_exit(render, drain_seconds) -> None:
    found = pod(render({"gateway": {"settings": {"drain_seconds": drain_seconds}}}))
    [gateway] = found["containers"]
    leaving = int(gateway["lifecycle"]["preStop"]["exec"]["command"][1])
    assert found["terminationGracePeriodSeconds"] >= leaving + drain_seconds + 10


def test_life_and_readiness_are_asked_apart(render) -> None:
    [gateway] = pod(render())["containers"]
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert gateway["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/health/ready"


def test_ports_are_those_of_the_settings(render) -> None:
    values = {"gateway": {"settings": {"port": 9000, "grpc_port": 9001}}}
    [gateway] = pod(render(values))["containers"]
    assert {port["name"]: port["containerPort"] for port in gateway["ports"]} == {
        "http": 9000,
        "grpc": 9001,
    }
    [alone] = pod(render({"gateway": {"settings": {"grpc_port": None}}}))["containers"]
    assert [port["name"] for port in alone["ports"]] == ["http"]


def test_no_gateway_without_engines(render) -> None:
    assert render({"inference": {"enabled": False}}) == []


@pytest.mark.slow
def test_its_command_starts_a_gateway_that_knows_the_keys_of_the_secret(
    render, render_all, tmp_path
) -> None:
    port = free_port()
    values = {"gateway": {"settings": {"host": LOOPBACK, "port": port, "grpc_port": None}}}
    [gateway] = pod(render(values))["containers"]
    [config_map] = render_all(values)["gateway-config-map.yaml"]
    (tmp_path / "gateway.json").write_text(config_map["data"]["gateway.json"])
    keys = [{"key_id": "game", "sha256": hashlib.sha256(b"a key").hexdigest()}]
    arguments = [
        argument.replace("/etc/worldloom", str(tmp_path)).replace(
            "$(WORLDLOOM_GATEWAY_KEYS)", json.dumps(keys)
        )
        for argument in [*gateway["command"], *gateway["args"]]
    ]
    secret = {SECRET_VARIABLE: "s" * 32, "PYTHONPATH": str(Path(__file__).parents[2])}
    program = [sys.executable, *arguments[1:]]
    process = ManagedProcess("gateway", program, {**os.environ, **secret}, tmp_path / "log")
    with process, httpx.Client(base_url=f"http://{LOOPBACK}:{port}") as client:
        process.wait_until(lambda: answers(client, gateway["livenessProbe"]["httpGet"]["path"]), 60)
        ready = client.get(gateway["readinessProbe"]["httpGet"]["path"])
        assert (ready.status_code, ready.json()["num_backends_up"]) == (503, 0)
        for key, status in ((b"a key", 200), (b"another", 401)):
            bearer = {"Authorization": f"Bearer {key.decode()}"}
            assert client.post("/v1/token", headers=bearer).status_code == status


def answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False
