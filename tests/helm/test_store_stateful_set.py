"""The chart's own S3 server."""

from __future__ import annotations

EXTERNAL = {
    "store": {"kind": "external", "endpoint": "https://s3.example.org"},
    "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
}


def container(manifests) -> dict:
    [manifest] = manifests
    [found] = manifest["spec"]["template"]["spec"]["containers"]
    return found


def test_keys_come_from_the_secret_and_close_anonymous_access(render) -> None:
    found = {entry["name"]: entry for entry in container(render())["env"]}
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert found[key]["valueFrom"]["secretKeyRef"]["name"] == "store-keys"


def test_objects_lie_on_the_volume(render) -> None:
    [manifest] = render({"store": {"seaweedfs": {"storage": {"size": "9Gi"}}}})
    [claim] = manifest["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "9Gi"
    [data] = [m for m in container([manifest])["volumeMounts"] if m["name"] == "data"]
    assert f"-dir={data['mountPath']}" in container([manifest])["args"]
    kept = manifest["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_it_listens_where_its_service_points(render, render_all) -> None:
    [port] = container(render())["ports"]
    assert f"-s3.port={port['containerPort']}" in container(render())["args"]
    [service] = render_all()["store-service.yaml"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    [manifest] = render()
    assert manifest["spec"]["serviceName"] == service["metadata"]["name"]


def test_none_where_the_cluster_has_a_store(render) -> None:
    assert render(EXTERNAL) == []
