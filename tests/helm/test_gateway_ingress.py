"""The door from outside the cluster."""

from __future__ import annotations

ON = {"gateway": {"ingress": {"enabled": True, "host": "play.example.org"}}}


def backends(ingress) -> dict[str, str]:
    [rule] = ingress["spec"]["rules"]
    for entry in rule["http"]["paths"]:
        assert entry["pathType"] == "Prefix"
        assert entry["backend"]["service"]["port"] == {"name": "http"}
    return {entry["path"]: entry["backend"]["service"]["name"] for entry in rule["http"]["paths"]}


def test_there_is_none_by_default(render) -> None:
    assert render() == []


def test_the_host_leads_to_the_gateway(render, render_all) -> None:
    ingress, _ = render(ON)
    assert ingress["spec"]["rules"][0]["host"] == "play.example.org"
    [service] = render_all()["gateway-service.yaml"]
    assert backends(ingress)["/"] == service["metadata"]["name"]


def test_metrics_and_administration_lead_nowhere(render) -> None:
    ingress, closed = render(ON)
    for path in ("/metrics", "/admin"):
        assert backends(ingress)[path] == closed["metadata"]["name"]
    assert "selector" not in closed["spec"]


def test_web_sockets_may_live_as_long_as_a_session(render) -> None:
    ingress, _ = render(ON)
    timeouts = {
        key: int(value)
        for key, value in ingress["metadata"]["annotations"].items()
        if key.endswith("-timeout")
    }
    assert len(timeouts) == 2
    assert all(seconds >= 3600 for seconds in timeouts.values())


def test_another_controller_has_annotations_of_its_own(render) -> None:
    annotations = [{"key": "example.org/timeout", "value": "1h"}]
    gateway = {**ON["gateway"]["ingress"], "annotations": annotations, "className": "other"}
    ingress, _ = render({"gateway": {"ingress": gateway}})
    assert ingress["metadata"]["annotations"] == {"example.org/timeout": "1h"}
    assert ingress["spec"]["ingressClassName"] == "other"


def test_the_certificate_is_a_secret_that_exists(render) -> None:
    ingress, _ = render({"gateway": {"ingress": {**ON["gateway"]["ingress"], "tlsSecret": "tls"}}})
    assert ingress["spec"]["tls"] == [{"hosts": ["play.example.org"], "secretName": "tls"}]


def test_no_ingress_without_a_gateway(render) -> None:
    assert render({**ON, "inference": {"enabled": False}}) == []
