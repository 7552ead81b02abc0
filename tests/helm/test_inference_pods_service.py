"""The names by which the gateway sees each inference pod."""

from __future__ import annotations

HEX = "c" * 64
CANDIDATE = {"uri": f"s3://worldloom/artifacts/{HEX}", "digest": f"sha256:{HEX}"}


def test_its_name_resolves_to_each_pod_that_is_ready(render) -> None:
    [service] = render()
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is False
    assert [port["port"] for port in service["spec"]["ports"]] == [8001]


def test_a_candidates_pods_have_a_name_of_their_own(render) -> None:
    served, candidate = render({"release": {"candidate": CANDIDATE}})
    assert served["metadata"]["name"] == "demo-worldloom-inference-pods"
    assert candidate["metadata"]["name"] == "demo-worldloom-candidate-pods"
    assert served["spec"]["selector"] != candidate["spec"]["selector"]


def test_no_name_without_inference(render) -> None:
    assert render({"inference": {"enabled": False}}) == []
