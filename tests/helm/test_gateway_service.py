"""The service that players' connections come through."""

from __future__ import annotations


def test_web_sockets_and_grpc_have_their_protocols(render) -> None:
    [service] = render()
    ports = {port["name"]: port for port in service["spec"]["ports"]}
    assert (ports["http"]["port"], ports["http"]["appProtocol"]) == (8080, "kubernetes.io/ws")
    assert (ports["grpc"]["port"], ports["grpc"]["appProtocol"]) == (8001, "kubernetes.io/h2c")


def test_its_ports_stay_whatever_the_pods_listen_on(render) -> None:
    [service] = render({"gateway": {"settings": {"port": 9000}}})
    assert [port["port"] for port in service["spec"]["ports"]] == [8080, 8001]


def test_no_grpc_where_the_gateway_has_none(render) -> None:
    [service] = render({"gateway": {"settings": {"grpc_port": None}}})
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]


def test_no_service_without_a_gateway(render) -> None:
    assert render({"gateway": {"enabled": False}}) == []
