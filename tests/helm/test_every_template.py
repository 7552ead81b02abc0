"""What holds for every template: known fields, closed pods, pinned images, tests, clean lint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import kubernetes.client.models as models
import pytest

CHART = Path(__file__).parents[2] / "helm" / "worldloom"
TYPES = {
    "Deployment": "V1Deployment",
    "StatefulSet": "V1StatefulSet",
    "Job": "V1Job",
    "ConfigMap": "V1ConfigMap",
    "Ingress": "V1Ingress",
    "Service": "V1Service",
    "ServiceAccount": "V1ServiceAccount",
    "NetworkPolicy": "V1NetworkPolicy",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
}
WORKLOADS = ("Deployment", "StatefulSet", "Job")
# Of operators that may be in a cluster; the real API server's check has their definitions.
OPERATORS = {"PodMonitor", "ScaledObject"}


@pytest.fixture
def manifests(variant, render_all) -> list[dict[str, Any]]:
    rendered = render_all(variant)
    return [manifest for found in rendered.values() for manifest in found]


def unknown_fields(value: Any, type_name: str, path: str) -> Iterator[str]:
    """Yield the path of every field that the API's own types do not have."""
    if type_name.startswith("list["):
        for index, item in enumerate(value):
            yield from unknown_fields(item, type_name[5:-1], f"{path}[{index}]")
    elif type_name.startswith("V1"):
        model = vars(models)[type_name]
        names = {json_name: name for name, json_name in model.attribute_map.items()}
        for key, item in value.items():
            if key not in names:
                yield f"{path}.{key}"
            else:
                yield from unknown_fields(item, model.openapi_types[names[key]], f"{path}.{key}")


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    pod = manifest["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


def workloads(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] in WORKLOADS]


def test_every_field_is_one_of_the_api(manifests) -> None:
    for manifest in manifests:
        if manifest["kind"] in OPERATORS:
            continue
        where = f"{manifest['kind']}/{manifest['metadata']['name']}"
        assert not list(unknown_fields(manifest, TYPES[manifest["kind"]], where))


def test_an_unknown_field_would_be_found(render_all) -> None:
    [manifest] = render_all()["inference-deployment.yaml"]
    manifest["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    found = list(unknown_fields(manifest, "V1Deployment", "Deployment"))
    assert found == ["Deployment.spec.template.spec.containers[0].livenesProbe"]


def test_every_pod_is_closed(manifests) -> None:
    for manifest in workloads(manifests):
        pod = manifest["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(manifest):
            security = container["securityContext"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}


def test_every_image_is_pinned_and_every_container_limited(manifests) -> None:
    for manifest in workloads(manifests):
        for container in containers(manifest):
            name, _, digest = container["image"].partition("@")
            assert ":" not in name
            assert len(digest) == len("sha256:") + 64
            for amounts in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][amounts])
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert "/tmp" in mounts


def test_every_server_has_probes(manifests) -> None:
    for manifest in workloads(manifests):
        if manifest["kind"] == "Job":
            continue
        ports = {port["name"] for port in manifest_server(manifest)["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert manifest_server(manifest)[probe]["httpGet"]["port"] in ports


def manifest_server(manifest: dict[str, Any]) -> dict[str, Any]:
    server: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
    return server


def test_every_pod_has_a_budget_and_a_policy(manifests) -> None:
    def selected(kind: str, *path: str) -> list[dict[str, str]]:
        found = []
        for manifest in manifests:
            if manifest["kind"] == kind:
                part = manifest["spec"]
                for key in path:
                    part = part[key]
                found.append(part)
        return found

    budgets = selected("PodDisruptionBudget", "selector", "matchLabels")
    policies = selected("NetworkPolicy", "podSelector", "matchLabels")
    for manifest in workloads(manifests):
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        matching = [policy for policy in policies if policy.items() <= labels.items()]
        assert len(matching) == 2, "the default and the part's own"
        if manifest["kind"] != "Job":
            assert any(budget.items() <= labels.items() for budget in budgets)


def test_services_select_exactly_one_workload(manifests) -> None:
    services = [found for found in manifests if found["kind"] == "Service"]
    for selector in (service["spec"].get("selector") for service in services):
        if selector is None:  # nothing stands behind it, on purpose
            continue
        labels = [
            manifest["spec"]["template"]["metadata"]["labels"] for manifest in workloads(manifests)
        ]
        assert sum(selector.items() <= found.items() for found in labels) == 1


def test_names_and_labels_are_the_releases(manifests) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    for manifest in manifests:
        assert manifest["metadata"]["name"].startswith("demo-worldloom-")
        assert len(manifest["metadata"]["name"]) <= 63
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo"


def test_no_secret_is_rendered(manifests) -> None:
    assert "Secret" not in {manifest["kind"] for manifest in manifests}


def test_lint_finds_nothing(variant, values_with) -> None:
    report = helm_python.lint(CHART, values_with(variant), strict=True)
    assert report["errors"] == []
    assert [m["error"] for m in report["messages"] if m["error"] != "icon is recommended"] == []


def test_lint_passes_without_any_values() -> None:
    assert helm_python.lint(CHART, strict=True)["errors"] == []


def test_long_release_names_still_fit(render_all) -> None:
    for found in render_all(name="a" * 53).values():
        for manifest in found:
            assert len(manifest["metadata"]["name"]) <= 63


def test_every_template_has_its_test() -> None:
    tests = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    templates = {path.stem for path in (CHART / "templates").glob("*.yaml")}
    wanted = {f"test_{template.replace('-', '_')}" for template in templates}
    assert tests == wanted | {Path(__file__).stem, "test_values"}
