"""The policy that closes every pod of the release."""

from __future__ import annotations


def test_nothing_in_and_only_names_out(render) -> None:
    [policy] = render()
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []
    [rule] = spec["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }
    assert rule["to"][0]["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def test_it_selects_every_part(render) -> None:
    [policy] = render()
    assert policy["spec"]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "worldloom",
        "app.kubernetes.io/instance": "demo",
    }


def test_the_resolver_may_be_another(render) -> None:
    resolver = {"podLabels": [{"key": "app", "value": "resolver"}], "namespaceLabels": []}
    [policy] = render({"networkPolicy": {"dns": resolver}})
    assert policy["spec"]["egress"][0]["to"] == [
        {"podSelector": {"matchLabels": {"app": "resolver"}}}
    ]
