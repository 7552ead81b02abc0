"""Who reaches the chart's own store."""

from __future__ import annotations

EXTERNAL = {
    "store": {"kind": "external", "endpoint": "https://s3.example.org"},
    "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
}


def test_inference_bucket_job_and_named_clients_reach_it(render) -> None:
    [policy] = render()
    [rule] = policy["spec"]["ingress"]
    labels = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert [found.get("app.kubernetes.io/component") for found in labels[:3]] == [
        "inference",
        "candidate",
        "bucket",
    ]
    assert labels[3:] == [{"worldloom.store-client": "true"}]
    assert [port["port"] for port in rule["ports"]] == [8333]
    assert policy["spec"]["egress"] == []


def test_none_where_the_cluster_has_a_store(render) -> None:
    assert render(EXTERNAL) == []
