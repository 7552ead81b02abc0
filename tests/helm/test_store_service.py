"""The service of the chart's own S3 server."""

from __future__ import annotations

EXTERNAL = {
    "store": {"kind": "external", "endpoint": "https://s3.example.org"},
    "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
}


def test_clients_find_it_where_the_endpoint_says(render) -> None:
    [service] = render()
    assert service["metadata"]["name"] == "demo-worldloom-store"
    assert [port["port"] for port in service["spec"]["ports"]] == [8333]


def test_none_where_the_cluster_has_a_store(render) -> None:
    assert render(EXTERNAL) == []
