"""The inference pods: fetch and verify, then Triton, one pod a device."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from services.chart.values import ChartValues
from services.contract import MODEL_NAME
from services.inference import departure, fetch_release
from services.inference.drain import DRAIN_VARIABLE
from services.inference.repository import RepositoryConfig
from services.inference.server import triton_wheel
from services.inference.session_store import STORE_VARIABLE
from worldloom.config import load_config

HEX = "a" * 64


def pod(manifests) -> dict:
    [manifest] = manifests
    return manifest["spec"]["template"]["spec"]


def option(container, name: str) -> str:
    [found] = [arg for arg in container["args"] if arg.startswith(f"--{name}=")]
    return found.partition("=")[2]


def test_init_container_runs_our_fetcher_with_the_release(render) -> None:
    [fetch] = pod(render())["initContainers"]
    assert fetch["command"] == ["python3", "-m", fetch_release.__name__]
    assert option(fetch, "release") == f"s3://worldloom/artifacts/{HEX}"
    assert option(fetch, "digest") == f"sha256:{HEX}"
    environment = {entry["name"]: entry for entry in fetch["env"]}
    assert environment["AWS_ENDPOINT_URL"]["value"] == "http://demo-worldloom-store:8333"
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        reference = environment[key]["valueFrom"]["secretKeyRef"]
        assert reference == {"name": "store-keys", "key": key, "optional": False}


def test_the_repository_config_is_one_that_the_fetcher_accepts(render) -> None:
    values = {"inference": {"numThreads": 3, "engine": {"num_slots": 9}}}
    [fetch] = pod(render(values))["initContainers"]
    config = load_config(RepositoryConfig, option(fetch, "config"))
    assert config.num_threads == 3
    assert config.engine.num_slots == 9
    assert config.instance_kind == "KIND_CPU"


def test_server_reads_what_the_fetcher_wrote_and_cannot_change_it(render) -> None:
    found = pod(render())
    [fetch], [triton] = found["initContainers"], found["containers"]
    home = option(fetch, "home")
    assert option(triton, "model-repository") == f"{home}/model_repository"
    assert option(triton, "load-model") == MODEL_NAME
    [written] = [m for m in fetch["volumeMounts"] if m["mountPath"] == home]
    [read] = [m for m in triton["volumeMounts"] if m["mountPath"] == home]
    assert read["name"] == written["name"]
    assert read["readOnly"] is True


def test_gpu_pods_take_one_gpu_each(render) -> None:
    values = {
        "inference": {
            "device": "gpu",
            "replicas": 3,
            "gpu": {"runtimeClassName": "nvidia"},
            "nodeLabels": [{"key": "gpu", "value": "h100"}],
            "tolerations": [{"key": "gpu"}],
        }
    }
    [manifest] = render(values)
    found = manifest["spec"]["template"]["spec"]
    assert manifest["spec"]["replicas"] == 3
    assert found["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert found["runtimeClassName"] == "nvidia"
    assert found["nodeSelector"] == {"gpu": "h100"}
    assert found["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    config = json.loads(option(found["initContainers"][0], "config"))
    assert config["instance_kind"] == "KIND_GPU"


def test_cpu_pods_take_none(render) -> None:
    assert set(pod(render())["containers"][0]["resources"]["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize("drain_seconds", [0, 120, 3600])
def test_grace_covers_leaving_draining_and_unloading(render, drain_seconds) -> None:
    found = pod(render({"inference": {"drainSeconds": drain_seconds, "handoverSeconds": 40}}))
    [triton] = found["containers"]
    wait = triton["lifecycle"]["preStop"]["exec"]["command"]
    assert wait[:3] == ["python3", "-m", departure.__name__]
    given = departure.parse(wait[3:])
    assert given.drain_seconds == drain_seconds
    assert option(triton, "exit-timeout-secs") == "40"
    assert given.handover_seconds == 40
    waits = given.leave_seconds + given.drain_seconds + given.handover_seconds
    assert found["terminationGracePeriodSeconds"] >= waits + 40 + 20


def test_the_sign_to_drain_lies_where_the_server_may_write(render) -> None:
    [triton] = pod(render())["containers"]
    [sign] = [entry["value"] for entry in triton["env"] if entry["name"] == DRAIN_VARIABLE]
    writable = [mount["mountPath"] for mount in triton["volumeMounts"] if not mount.get("readOnly")]
    assert str(Path(sign).parent) in writable


def test_a_pod_may_drain_as_long_as_a_session_lasts(render) -> None:
    defaults = ChartValues().inference
    assert defaults.drain_seconds >= defaults.engine.max_session_seconds


def test_sessions_are_kept_in_the_store_with_its_keys(render) -> None:
    values = {"store": {"bucket": "worlds"}, "inference": {"sessionStore": {"prefix": "live"}}}
    [triton] = pod(render(values))["containers"]
    environment = {entry["name"]: entry for entry in triton["env"]}
    assert environment[STORE_VARIABLE]["value"] == "s3://worlds/live"
    assert environment["AWS_ENDPOINT_URL"]["value"] == "http://demo-worldloom-store:8333"
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert environment[key]["valueFrom"]["secretKeyRef"]["name"] == "store-keys"
    [plain] = pod(render())["containers"]
    [address] = [entry["value"] for entry in plain["env"] if entry["name"] == STORE_VARIABLE]
    assert address == "s3://worldloom"


def test_a_server_without_a_session_store_gets_no_keys(render) -> None:
    [triton] = pod(render({"inference": {"sessionStore": {"enabled": False}}}))["containers"]
    names = {entry["name"] for entry in triton["env"]}
    assert not names & {STORE_VARIABLE, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


CANDIDATE = {
    "uri": f"s3://worldloom/artifacts/{'c' * 64}",
    "digest": f"sha256:{'c' * 64}",
    "replicas": 2,
}


def test_a_candidate_gets_pods_of_its_own_and_leaves_the_served_ones_alone(render) -> None:
    [before] = render({"inference": {"replicas": 5}})
    served, candidate = render({"inference": {"replicas": 5}, "release": {"candidate": CANDIDATE}})
    assert served == before
    assert candidate["metadata"]["name"] == "demo-worldloom-candidate"
    assert candidate["spec"]["replicas"] == 2
    [fetch] = candidate["spec"]["template"]["spec"]["initContainers"]
    assert option(fetch, "release") == CANDIDATE["uri"]
    assert option(fetch, "digest") == CANDIDATE["digest"]


def test_keda_alone_counts_the_pods_that_it_scales(render) -> None:
    values = {
        "monitoring": {"podMonitors": {"enabled": True}},
        "autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"},
        "release": {"candidate": CANDIDATE},
    }
    served, candidate = render(values)
    assert "replicas" not in served["spec"]
    assert candidate["spec"]["replicas"] == 2


def test_loading_may_take_as_long_as_said(render) -> None:
    [triton] = pod(render({"inference": {"startupSeconds": 600}}))["containers"]
    probe = triton["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 600


def test_a_new_release_is_a_new_pod_and_none_is_lost_meanwhile(render) -> None:
    [manifest] = render()
    assert manifest["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    annotations = manifest["spec"]["template"]["metadata"]["annotations"]
    assert annotations["worldloom/release"] == f"sha256:{HEX}"


def test_external_store_is_where_the_release_comes_from(render) -> None:
    values = {
        "store": {"kind": "external", "endpoint": "https://s3.example.org", "region": "eu-1"},
        "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
    }
    [fetch] = pod(render(values))["initContainers"]
    environment = {entry["name"]: entry.get("value") for entry in fetch["env"]}
    assert environment["AWS_ENDPOINT_URL"] == "https://s3.example.org"
    assert environment["AWS_REGION"] == "eu-1"


def test_nothing_is_served_when_it_is_switched_off(render) -> None:
    assert render({"inference": {"enabled": False}, "release": {"uri": "", "digest": ""}}) == []


def test_triton_knows_every_option(render) -> None:
    wheel = triton_wheel()
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{wheel.parents[1] / 'nvidia_pytriton.libs'}"
    shown = subprocess.run(
        [str(wheel / "bin" / "tritonserver"), "--help"],
        env={"LD_LIBRARY_PATH": libraries},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    [triton] = pod(render())["containers"]
    for argument in triton["args"]:
        assert f"  {argument.partition('=')[0]}" in shown.stdout + shown.stderr
