"""What the gateway is told: its settings, and the chart's engines."""

from __future__ import annotations

import pytest

from services.gateway.settings import GatewayConfig
from worldloom.config import load_config

HEX = "c" * 64
CANDIDATE = {
    "uri": f"s3://worldloom/artifacts/{HEX}",
    "digest": f"sha256:{HEX}",
    "version": "8",
    "share": 0.25,
}


def settings(manifests) -> GatewayConfig:
    [manifest] = manifests
    return load_config(GatewayConfig, manifest["data"]["gateway.json"])


def test_the_gateway_accepts_its_settings_and_listens_to_the_cluster(render) -> None:
    config = settings(render())
    assert config == GatewayConfig(
        host="0.0.0.0", grpc_port=8001, backends=config.backends
    )  # all else is the gateway's own default


def test_every_setting_can_be_given(render) -> None:
    given = {
        "port": 9000,
        "max_queued_sessions": 7,
        "limits": {"max_session_seconds": 90.5},
        "otlp_endpoint": "http://collector:4318/v1/traces",
    }
    addresses = [{"cidr": "10.0.0.0/8", "port": 4318}]
    config = settings(render({"gateway": {"settings": given, "addresses": addresses}}))
    assert config.port == 9000
    assert config.max_queued_sessions == 7
    assert config.limits.max_session_seconds == 90.5
    assert config.otlp_endpoint == "http://collector:4318/v1/traces"


def test_it_sees_every_pod_of_the_release(render, render_all) -> None:
    [backend] = settings(render({"release": {"version": "7"}})).backends
    [service] = render_all()["inference-pods-service.yaml"]
    assert backend.address == f"dns://{service['metadata']['name']}:8001"
    assert backend.model_version == "7"
    assert backend.release == f"sha256:{'a' * 64}"
    assert backend.share == 1


@pytest.mark.parametrize(("share", "others"), [(0, 1), (0.25, 0.75), (1, 0)])
def test_a_candidate_takes_its_share_of_new_sessions(render, share, others) -> None:
    given = {"release": {"version": "7", "candidate": {**CANDIDATE, "share": share}}}
    served, candidate = settings(render(given)).backends
    assert (served.model_version, served.share) == ("7", others)
    assert (candidate.model_version, candidate.share) == ("8", share)
    assert candidate.release == CANDIDATE["digest"]
    assert candidate.address == "dns://demo-worldloom-candidate-pods:8001"


def test_further_engines_come_after_the_charts(render) -> None:
    outside = [{"address": "engine.example.org:8001", "share": 0.5}]
    given = {"gateway": {"settings": {"backends": outside}}}
    addresses = [backend.address for backend in settings(render(given)).backends]
    assert addresses == ["dns://demo-worldloom-inference-pods:8001", "engine.example.org:8001"]
    [alone] = settings(render({**given, "inference": {"enabled": False}})).backends
    assert alone.address == "engine.example.org:8001"


@pytest.mark.parametrize(
    "off", [{"gateway": {"enabled": False}}, {"inference": {"enabled": False}}]
)
def test_no_gateway_where_it_is_off_or_has_no_engine(render, off) -> None:
    assert render(off) == []
