"""A single server may be moved, and never holds a node's maintenance up."""

from __future__ import annotations


def test_the_one_pod_may_go(render) -> None:
    [budget] = render()
    assert budget["spec"]["maxUnavailable"] == 1
    selected = budget["spec"]["selector"]["matchLabels"]
    assert selected["app.kubernetes.io/component"] == "mlflow"


def test_no_budget_without_the_server(render) -> None:
    assert render({"mlflow": {"enabled": False}}) == []
