"""Who reaches the gateway, and what it reaches."""

from __future__ import annotations

import pytest

HEX = "c" * 64
CANDIDATE = {"uri": f"s3://worldloom/artifacts/{HEX}", "digest": f"sha256:{HEX}"}
COLLECTOR = {
    "podLabels": [{"key": "app", "value": "collector"}],
    "namespaceLabels": [{"key": "team", "value": "ops"}],
}
CONTROLLER = {
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "ingress-nginx"}},
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}},
}


def rule_for(policy, peer) -> dict:
    [rule] = [rule for rule in policy["spec"]["ingress"] if peer in rule["from"]]
    return rule


def labelled(name: str) -> dict:
    return {"podSelector": {"matchLabels": {name: "true"}}}


def parts(policy) -> list[str]:
    return [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
    ]


def ports(rule) -> list[int]:
    return [port["port"] for port in rule["ports"]]


def test_clients_reach_both_doors_and_scrapers_the_metrics(render) -> None:
    [policy] = render()
    assert ports(rule_for(policy, labelled("worldloom.gateway-client"))) == [8080, 8001]
    assert ports(rule_for(policy, labelled("worldloom.metrics-scraper"))) == [8080]
    assert len(policy["spec"]["ingress"]) == 2


def test_the_ingress_controller_gets_in_when_there_is_an_ingress(render) -> None:
    [closed] = render()
    assert not [rule for rule in closed["spec"]["ingress"] if CONTROLLER in rule["from"]]
    [policy] = render({"gateway": {"ingress": {"enabled": True, "host": "play.example.org"}}})
    assert ports(rule_for(policy, CONTROLLER)) == [8080]


def test_it_reaches_the_engines_alone(render) -> None:
    [policy] = render()
    assert parts(policy) == ["inference"]
    assert ports(policy["spec"]["egress"][0]) == [8001]


def test_it_reaches_the_candidates_engines_too(render) -> None:
    [policy] = render({"release": {"candidate": CANDIDATE}})
    assert parts(policy) == ["inference", "candidate"]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector.ops:4318/v1/traces", 4318),
        ("https://collector.ops/v1/traces", 443),
        ("http://collector.ops/v1/traces", 80),
    ],
)
def test_a_collector_that_is_named_is_reached_at_its_port(render, endpoint, port) -> None:
    gateway = {"settings": {"otlp_endpoint": endpoint}, "collectors": [COLLECTOR]}
    [policy] = render({"gateway": gateway})
    [_, rule] = policy["spec"]["egress"]
    assert rule["to"][0]["podSelector"] == {"matchLabels": {"app": "collector"}}
    assert rule["to"][0]["namespaceSelector"] == {"matchLabels": {"team": "ops"}}
    assert ports(rule) == [port]


def test_what_is_outside_is_reached_at_its_addresses(render) -> None:
    [policy] = render({"gateway": {"addresses": [{"cidr": "10.0.0.0/8", "port": 4318}]}})
    [_, rule] = policy["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert ports(rule) == [4318]


def test_no_policy_without_a_gateway(render) -> None:
    assert render({"gateway": {"enabled": False}}) == []
