"""How many of the gateway's pods a node's maintenance may take."""

from __future__ import annotations


def test_as_many_as_said_may_go(render) -> None:
    [budget] = render({"gateway": {"maxUnavailable": 2}})
    assert budget["spec"]["maxUnavailable"] == 2
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_no_budget_without_a_gateway(render) -> None:
    assert render({"gateway": {"enabled": False}}) == []
