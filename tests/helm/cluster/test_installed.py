"""The chart against a real API server, and what Kubernetes' own controllers make of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

CHART = Path(__file__).parents[3] / "helm" / "worldloom"
SCALED = {
    "monitoring": {"podMonitors": {"enabled": True}},
    "autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"},
}
OTHER = "d" * 64
OTHER_RELEASE = {
    "release": {"uri": f"s3://worldloom/artifacts/{OTHER}", "digest": f"sha256:{OTHER}"}
}
COMPONENT = "app.kubernetes.io/component"


def pods_of(cluster, namespace) -> Counter[str]:
    pods = cluster.list("v1", "Pod", namespace)
    return Counter(pod["metadata"]["labels"][COMPONENT] for pod in pods)


def deployment(cluster, namespace, part: str) -> dict:
    found = cluster.list("apps/v1", "Deployment", namespace)
    [named] = [each for each in found if each["metadata"]["labels"][COMPONENT] == part]
    return named


def test_every_object_is_accepted_to_the_letter(variant, render_all, cluster, namespace) -> None:
    refused = {
        f"{manifest['kind']}/{manifest['metadata']['name']}": said
        for manifests in render_all(variant).values()
        for manifest in manifests
        if (said := cluster.create(manifest, namespace, dry_run=True))
    }
    assert refused == {}


def test_an_unknown_field_would_be_refused(render_all, cluster, namespace) -> None:
    [service] = render_all()["gateway-service.yaml"]
    service["spec"]["colour"] = "red"
    assert "colour" in cluster.create(service, namespace, dry_run=True)


def test_the_controllers_make_every_pod_under_the_strictest_standard(
    helm, values_with, cluster, namespace
) -> None:
    helm.install(CHART, "demo", values_with({}), namespace=namespace)
    wanted = {"gateway": 2, "inference": 1, "mlflow": 1, "store": 1, "bucket": 1}
    cluster.wait_for("pods", lambda: pods_of(cluster, namespace) == wanted)


def test_the_old_pods_stay_until_the_new_releases_are_ready(
    helm, values_with, cluster, namespace
) -> None:
    helm.install(CHART, "demo", values_with({}), namespace=namespace)
    cluster.wait_for("a pod", lambda: pods_of(cluster, namespace)["inference"] == 1)
    [old] = (
        pod["metadata"]["name"]
        for pod in cluster.list("v1", "Pod", namespace)
        if pod["metadata"]["labels"][COMPONENT] == "inference"
    )
    helm.upgrade(CHART, "demo", values_with(OTHER_RELEASE), namespace=namespace)
    cluster.wait_for("another pod", lambda: pods_of(cluster, namespace)["inference"] == 2)
    pods = {pod["metadata"]["name"]: pod for pod in cluster.list("v1", "Pod", namespace)}
    assert "deletionTimestamp" not in pods[old]["metadata"]
    assert pods[old]["spec"]["terminationGracePeriodSeconds"] > 3600


def test_an_upgrade_leaves_the_number_of_pods_to_keda(
    helm, values_with, cluster, namespace
) -> None:
    helm.install(CHART, "demo", values_with(SCALED), namespace=namespace)
    name = deployment(cluster, namespace, "inference")["metadata"]["name"]
    cluster.patch("apps/v1", "Deployment", namespace, name, {"spec": {"replicas": 3}})
    helm.upgrade(CHART, "demo", values_with(SCALED | OTHER_RELEASE), namespace=namespace)
    assert deployment(cluster, namespace, "inference")["spec"]["replicas"] == 3


def test_nothing_is_left_after_it_is_taken_away(helm, values_with, cluster, namespace) -> None:
    helm.install(CHART, "demo", values_with(SCALED), namespace=namespace)
    cluster.wait_for("pods", lambda: pods_of(cluster, namespace)["gateway"] == 2)
    helm.uninstall("demo")
    cluster.wait_for("no pods", lambda: not pods_of(cluster, namespace))
    for api, kind in (("apps/v1", "Deployment"), ("v1", "Service"), ("v1", "ConfigMap")):
        left = [found["metadata"] for found in cluster.list(api, kind, namespace)]
        assert [found["name"] for found in left if "labels" in found] == []
