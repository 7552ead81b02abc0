"""A single server may be moved, and never holds a node's maintenance up."""

from __future__ import annotations

EXTERNAL = {
    "store": {"kind": "external", "endpoint": "https://s3.example.org"},
    "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
}


def test_the_one_pod_may_go(render) -> None:
    [budget] = render()
    assert budget["spec"]["maxUnavailable"] == 1
    selected = budget["spec"]["selector"]["matchLabels"]
    assert selected["app.kubernetes.io/component"] == "store"


def test_no_budget_without_the_server(render) -> None:
    assert render(EXTERNAL) == []
