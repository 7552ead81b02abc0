"""What the bucket's job reaches."""

from __future__ import annotations

EXTERNAL = {
    "store": {"kind": "external", "endpoint": "https://s3.example.org"},
    "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
}


def test_the_store_alone(render) -> None:
    [policy] = render()
    assert policy["spec"]["ingress"] == []
    [rule] = policy["spec"]["egress"]
    labels = rule["to"][0]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/component"] == "store"


def test_none_where_the_cluster_has_a_store(render) -> None:
    assert render(EXTERNAL) == []
