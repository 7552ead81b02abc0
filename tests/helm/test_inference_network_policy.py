"""Who reaches the inference pods, and what they reach."""

from __future__ import annotations


def test_named_clients_reach_streams_and_metrics_alone(render) -> None:
    [policy] = render()
    [rule] = policy["spec"]["ingress"]
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"worldloom.inference-client": "true"}}}
    ]
    assert [port["port"] for port in rule["ports"]] == [8001, 8002]


def test_clients_of_other_namespaces_are_named_by_both_labels(render) -> None:
    peer = {
        "podLabels": [{"key": "app", "value": "game"}, {"key": "tier", "value": "1"}],
        "namespaceLabels": [{"key": "team", "value": "worlds"}],
    }
    [policy] = render({"inference": {"clients": [peer]}})
    assert policy["spec"]["ingress"][0]["from"] == [
        {
            "podSelector": {"matchLabels": {"app": "game", "tier": "1"}},
            "namespaceSelector": {"matchLabels": {"team": "worlds"}},
        }
    ]


def test_without_clients_nobody_reaches_them(render) -> None:
    [policy] = render({"inference": {"clients": []}})
    assert not policy["spec"]["ingress"]
    assert "Ingress" in policy["spec"]["policyTypes"]


def test_the_store_is_all_that_they_reach(render) -> None:
    [policy] = render()
    [rule] = policy["spec"]["egress"]
    labels = rule["to"][0]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/component"] == "store"
    assert rule["ports"] == [{"protocol": "TCP", "port": 8333}]


def test_an_external_store_is_reached_at_its_addresses(render) -> None:
    addresses = [{"cidr": "10.0.0.0/8", "port": 443}, {"cidr": "192.168.7.0/24", "port": 9000}]
    [policy] = render(
        {
            "store": {"kind": "external", "endpoint": "https://s3.example.org"},
            "networkPolicy": {"storeAddresses": addresses},
        }
    )
    rules = policy["spec"]["egress"]
    assert [rule["to"][0]["ipBlock"]["cidr"] for rule in rules] == ["10.0.0.0/8", "192.168.7.0/24"]
    assert [rule["ports"][0]["port"] for rule in rules] == [443, 9000]


def test_no_policy_without_inference(render) -> None:
    assert render({"inference": {"enabled": False}}) == []
