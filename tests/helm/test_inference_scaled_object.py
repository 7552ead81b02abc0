"""How many inference pods there are, where KEDA says it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from services.gateway.metrics import Metrics
from services.inference.metrics import NO_LABELS, EngineMetrics, Labels

ON = {
    "monitoring": {"podMonitors": {"enabled": True}},
    "autoscaling": {"enabled": True, "prometheus": "http://prometheus.ops:9090"},
}


class Names:
    """Makes no metrics, and knows what they would be called."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def counter(self, name: str, description: str, labels: Labels = NO_LABELS) -> Names:
        del description, labels
        return self.note(name)

    def gauge(self, name: str, description: str) -> Names:
        del description
        return self.note(name)

    def histogram(self, name: str, description: str, bounds: Sequence[float]) -> Names:
        del description, bounds
        return self.note(name)

    def note(self, name: str) -> Names:
        self.names.add(f"worldloom_engine_{name}")
        return self


def exported_names() -> set[str]:
    names = Names()
    EngineMetrics(names)
    families = Metrics().registry.collect()
    return names.names | {family.name for family in families}


def evaluated(query: str, series: dict[str, str], expected: float, folder: Path) -> str:
    """Return what Prometheus's own tool says against a query having a value after two minutes."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed, so that no query is evaluated")
    rules = {"groups": [{"name": "g", "rules": [{"record": "wanted", "expr": query}]}]}
    samples = [{"expr": "wanted", "eval_time": "2m"}]
    samples[0]["exp_samples"] = [{"labels": "wanted", "value": expected}]
    inputs = [
        {"series": name.replace("}", f",{RELEASE}}}"), "values": values}
        for name, values in series.items()
    ]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    test = {"interval": "15s", "input_series": inputs, "promql_expr_test": samples}
    given = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": [test]}
    (folder / "tests.yaml").write_text(yaml.safe_dump(given))
    done = subprocess.run(
        [promtool, "test", "rules", "tests.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


RELEASE = 'namespace="worlds",app_kubernetes_io_instance="demo"'
SESSIONS = 'worldloom_engine_sessions{pod="%s",app_kubernetes_io_component="inference"}'
SLACK = 'worldloom_engine_min_slack_seconds{pod="%s",app_kubernetes_io_component="inference"}'
QUEUE = 'worldloom_gateway_queued_sessions{pod="%s",app_kubernetes_io_component="gateway"}'
CANDIDATES = 'worldloom_engine_sessions{pod="c",app_kubernetes_io_component="candidate"}'


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({SESSIONS % "a": "4x8", SESSIONS % "b": "3x8"}, 7),
        ({SESSIONS % "a": "4x8", QUEUE % "g": "2x8", QUEUE % "h": "1x8"}, 7),
        ({SESSIONS % "a": "4x8", CANDIDATES: "9x8"}, 4),
    ],
)
def test_sessions_and_queue_are_added_up_over_pods(render, tmp_path, series, expected) -> None:
    query = triggers(render(ON))["sessions"]["metadata"]["query"]
    assert evaluated(query, series, expected, tmp_path) == ""


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({SESSIONS % "a": "2x8", SLACK % "a": "0.5x8"}, 0.5),
        ({SESSIONS % "a": "2x8", SLACK % "a": "0.5x4 0.05 0.5x3"}, 1.25),
        ({SESSIONS % "a": "2x8", SLACK % "a": "-1 0.5x7"}, 0.5),
        # More pods do not help a session that has its device for itself.
        ({SESSIONS % "a": "1x8", SLACK % "a": "-1x8"}, 0.5),
        (
            {
                SESSIONS % "a": "1x8", SLACK % "a": "-1x8",
                SESSIONS % "b": "3x8", SLACK % "b": "0.05x8",
            },
            1.25,
        ),
    ],
)  # fmt: skip
def test_a_shared_device_that_is_nearly_late_asks_for_a_quarter_more(
    render, tmp_path, series, expected
) -> None:
    query = triggers(render(ON))["slack"]["metadata"]["query"]
    assert evaluated(query, series, expected, tmp_path) == ""


def triggers(manifests) -> dict[str, dict]:
    [manifest] = manifests
    return {trigger["name"]: trigger for trigger in manifest["spec"]["triggers"]}


def test_there_is_none_by_default(render) -> None:
    assert render() == []


def test_it_scales_the_inference_pods_within_bounds(render, render_all) -> None:
    values = {**ON, "autoscaling": {**ON["autoscaling"], "minReplicas": 2, "maxReplicas": 5}}
    [manifest] = render(values)
    [deployment] = render_all(values)["inference-deployment.yaml"]
    target = manifest["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert target["apiVersion"] == deployment["apiVersion"]
    assert (manifest["spec"]["minReplicaCount"], manifest["spec"]["maxReplicaCount"]) == (2, 5)


def test_every_metric_that_is_asked_for_is_exported(render) -> None:
    found = triggers(render(ON))
    asked = {
        name
        for trigger in found.values()
        for name in re.findall(r"worldloom_[a-z_]+", trigger["metadata"]["query"])
    }
    assert len(asked) == 3
    assert asked <= exported_names()


@pytest.mark.parametrize(("num_slots", "slot_use", "sessions"), [(4, 0.75, 3.0), (1, 1, 1.0)])
def test_pods_follow_sessions_and_queue_by_the_slots_of_a_pod(
    render, num_slots, slot_use, sessions
) -> None:
    scaling = {**ON["autoscaling"], "slotUse": slot_use}
    values = {**ON, "autoscaling": scaling, "inference": {"engine": {"num_slots": num_slots}}}
    trigger = triggers(render(values))["sessions"]
    assert trigger["metricType"] == "AverageValue"
    assert float(trigger["metadata"]["threshold"]) == sessions


def test_only_series_of_this_installation_count(render) -> None:
    for trigger in triggers(render(ON)).values():
        selectors = re.findall(r"\{(.*?)\}", trigger["metadata"]["query"])
        assert selectors
        for selector in selectors:
            assert 'namespace="worlds"' in selector
            assert 'app_kubernetes_io_instance="demo"' in selector


def test_pods_are_not_taken_away_because_nobody_answers(render) -> None:
    for trigger in triggers(render(ON)).values():
        assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_pods_come_fast_and_go_slowly(render) -> None:
    [manifest] = render({**ON, "autoscaling": {**ON["autoscaling"], "scaleInSeconds": 900}})
    behavior = manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 900
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_nothing_is_scaled_without_inference(render) -> None:
    assert render({**ON, "inference": {"enabled": False}}) == []
