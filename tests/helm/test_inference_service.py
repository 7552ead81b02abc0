"""The service that clients dial."""

from __future__ import annotations


def test_grpc_is_offered_as_http2_and_metrics_beside_it(render) -> None:
    [service] = render()
    ports = {port["name"]: port for port in service["spec"]["ports"]}
    assert ports["grpc"]["port"] == 8001
    assert ports["grpc"]["appProtocol"] == "kubernetes.io/h2c"
    assert ports["metrics"]["port"] == 8002
    assert service["spec"]["type"] == "ClusterIP"


def test_no_service_without_inference(render) -> None:
    assert render({"inference": {"enabled": False}}) == []
