"""Who reaches the tracking server, and what it reaches."""

from __future__ import annotations


def test_named_clients_reach_it_and_it_reaches_nothing(render) -> None:
    [policy] = render()
    [rule] = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"worldloom.mlflow-client": "true"}}}]
    assert [port["port"] for port in rule["ports"]] == [5000]
    assert policy["spec"]["egress"] == []


def test_postgres_is_reached_where_it_is(render) -> None:
    database = {
        "kind": "postgres",
        "secret": "tracking-database",
        "addresses": [{"cidr": "10.1.0.0/16", "port": 5432}],
    }
    [policy] = render({"mlflow": {"database": database}})
    [rule] = policy["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]


def test_no_policy_without_mlflow(render) -> None:
    assert render({"mlflow": {"enabled": False}}) == []
