"""The tracking server's service."""

from __future__ import annotations


def test_clients_find_it_at_5000(render) -> None:
    [service] = render()
    assert service["metadata"]["name"] == "demo-worldloom-mlflow"
    assert [port["port"] for port in service["spec"]["ports"]] == [5000]


def test_no_service_without_mlflow(render) -> None:
    assert render({"mlflow": {"enabled": False}}) == []
