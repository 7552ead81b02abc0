"""Who reaches the inference pods, and what they reach."""

from __future__ import annotations


def labelled(name: str) -> dict:
    return {"podSelector": {"matchLabels": {name: "true"}}}


def test_gateway_and_named_clients_reach_streams_and_scrapers_metrics(render) -> None:
    [policy] = render()
    streams, metrics = policy["spec"]["ingress"]
    gateway, client = streams["from"]
    labels = gateway["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/component"] == "gateway"
    assert client == labelled("worldloom.inference-client")
    assert [port["port"] for port in streams["ports"]] == [8001]
    assert metrics["from"] == [labelled("worldloom.metrics-scraper")]
    assert [port["port"] for port in metrics["ports"]] == [8002]


def test_clients_of_other_namespaces_are_named_by_both_labels(render) -> None:
    peer = {
        "podLabels": [{"key": "app", "value": "game"}, {"key": "tier", "value": "1"}],
        "namespaceLabels": [{"key": "team", "value": "worlds"}],
    }
    [policy] = render({"inference": {"clients": [peer]}, "gateway": {"enabled": False}})
    assert policy["spec"]["ingress"][0]["from"] == [
        {
            "podSelector": {"matchLabels": {"app": "game", "tier": "1"}},
            "namespaceSelector": {"matchLabels": {"team": "worlds"}},
        }
    ]


def test_without_gateway_clients_and_scrapers_nobody_reaches_them(render) -> None:
    nobody = {
        "inference": {"clients": []},
        "gateway": {"enabled": False},
        "monitoring": {"scrapers": []},
    }
    [policy] = render(nobody)
    assert not policy["spec"]["ingress"]
    assert "Ingress" in policy["spec"]["policyTypes"]


def test_a_candidates_pods_are_closed_as_well(render) -> None:
    digits = "c" * 64
    candidate = {"uri": f"s3://worldloom/artifacts/{digits}", "digest": f"sha256:{digits}"}
    served, other = render({"release": {"candidate": candidate}})
    assert served["spec"]["podSelector"] != other["spec"]["podSelector"]
    assert served["spec"]["ingress"] == other["spec"]["ingress"]
    assert served["spec"]["egress"] == other["spec"]["egress"]


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
