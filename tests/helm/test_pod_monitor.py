"""How Prometheus's operator finds the pods."""

from __future__ import annotations

import pytest

HEX = "c" * 64
ON = {"monitoring": {"podMonitors": {"enabled": True, "intervalSeconds": 5}}}
CANDIDATE = {"uri": f"s3://worldloom/artifacts/{HEX}", "digest": f"sha256:{HEX}"}


def test_there_is_none_by_default(render) -> None:
    assert render() == []


def test_each_part_is_scraped_at_a_port_that_its_pods_have(render, render_all) -> None:
    values = {**ON, "release": {"candidate": CANDIDATE}}
    deployments = {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for name in ("inference-deployment.yaml", "gateway-deployment.yaml")
        for manifest in render_all(values)[name]
    }
    monitors = {manifest["metadata"]["name"]: manifest["spec"] for manifest in render(values)}
    assert set(monitors) == set(deployments)
    for name, monitor in monitors.items():
        template = deployments[name]
        labels = monitor["selector"]["matchLabels"]
        assert labels.items() <= template["metadata"]["labels"].items()
        [endpoint] = monitor["podMetricsEndpoints"]
        ports = [port["name"] for port in template["spec"]["containers"][0]["ports"]]
        assert endpoint["port"] in ports
        assert endpoint["interval"] == "5s"


def test_the_operator_selects_them_by_labels_of_its_own(render) -> None:
    labels = [{"key": "release", "value": "prometheus"}]
    monitors = render({"monitoring": {"podMonitors": {"enabled": True, "labels": labels}}})
    assert all(monitor["metadata"]["labels"]["release"] == "prometheus" for monitor in monitors)


@pytest.mark.parametrize("part", ["gateway", "inference"])
def test_parts_that_are_not_there_are_not_scraped(render, part) -> None:
    monitors = render({**ON, part: {"enabled": False}})
    components = {m["metadata"]["labels"]["app.kubernetes.io/component"] for m in monitors}
    assert part not in components
