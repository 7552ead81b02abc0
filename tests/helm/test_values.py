"""Values that the chart refuses, each with a sentence that names the value."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

HEX = "a" * 64


def refused(render_all, values: dict[str, Any]) -> str:
    with pytest.raises(helm_python.HelmError) as caught:
        render_all(values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"release": {"uri": ""}}, "release.uri: expected the address of a release"),
        ({"release": {"digest": ""}}, "release.digest: expected the digest"),
        ({"release": {"digest": "sha256:" + "c" * 64}}, "does not end in the digits of"),
        ({"inference": {"image": {"digest": ""}}}, "inference.image.digest: expected sha256"),
        ({"inference": {"image": {"repository": ""}}}, "inference.image.repository: expected"),
        ({"mlflow": {"image": {"digest": ""}}}, "mlflow.image.digest: expected"),
        ({"store": {"seaweedfs": {"image": {"digest": ""}}}}, "store.seaweedfs.image.digest"),
        ({"store": {"credentialsSecret": ""}}, "store.credentialsSecret: expected the name"),
        (
            {
                "store": {"kind": "external"},
                "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
            },
            "store.endpoint: expected the address",
        ),
        (
            {"store": {"kind": "external", "endpoint": "https://s3.example.org"}},
            "networkPolicy.storeAddresses: expected the addresses",
        ),
        (
            {
                "mlflow": {
                    "database": {
                        "kind": "postgres",
                        "addresses": [{"cidr": "10.1.0.0/16", "port": 5432}],
                    }
                }
            },
            "mlflow.database.secret: expected",
        ),
        ({"gateway": {"image": {"digest": ""}}}, "gateway.image.digest: expected sha256"),
        ({"gateway": {"tokenSecret": ""}}, "gateway.tokenSecret: expected the name of a secret"),
        ({"gateway": {"keysSecret": ""}}, "gateway.keysSecret: expected the name of a secret"),
        ({"gateway": {"settings": {"auth": "none"}}}, "gateway.settings.auth: none is for"),
        (
            {"gateway": {"settings": {"otlp_endpoint": "http://collector:4318"}}},
            "gateway.collectors: expected the pods of the collector",
        ),
        ({"gateway": {"ingress": {"enabled": True}}}, "gateway.ingress.host: expected the host"),
        (
            {"release": {"candidate": {"uri": f"s3://worldloom/artifacts/{HEX}"}}},
            "release.candidate.digest: expected the digest",
        ),
        (
            {"autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"}},
            "monitoring.podMonitors.enabled: expected true",
        ),
        (
            {
                "autoscaling": {"enabled": True},
                "monitoring": {"podMonitors": {"enabled": True}},
            },
            "autoscaling.prometheus: expected the address",
        ),
        (
            {"mlflow": {"database": {"kind": "postgres", "secret": "uri"}}},
            "mlflow.database.addresses: expected",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(render_all, values, sentence) -> None:
    assert sentence in refused(render_all, values)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"infrence": {}}, "infrence"),
        ({"inference": {"replcas": 2}}, "replcas"),
        ({"inference": {"engine": {"num_slot": 2}}}, "num_slot"),
        ({"inference": {"engine": {"num_slots": 0}}}, "num_slots"),
        ({"inference": {"device": "tpu"}}, "device"),
        ({"inference": {"image": {"digest": "latest"}}}, "digest"),
        ({"inference": {"image": {"tag": "latest"}}}, "tag"),
        ({"inference": {"user": 0}}, "user"),
        ({"inference": {"resources": {"limits": {"memory": "8 GB"}}}}, "memory"),
        ({"inference": {"clients": [{"podLabels": []}]}}, "podLabels"),
        ({"gateway": {"replicas": 0}}, "replicas"),
        ({"gateway": {"settings": {"prot": 80}}}, "prot"),
        ({"gateway": {"settings": {"queue_seconds": 0}}}, "queue_seconds"),
        ({"gateway": {"settings": {"keys": [{"key_id": "a", "sha256": "b"}]}}}, "sha256"),
        ({"release": {"candidate": {"share": 1.5}}}, "share"),
        ({"autoscaling": {"slotUse": 0}}, "slotUse"),
        ({"release": {"uri": f"https://host/artifacts/{HEX}"}}, "uri"),
        ({"store": {"bucket": "No Bucket"}}, "bucket"),
        ({"networkPolicy": {"storeAddresses": [{"cidr": "here", "port": 443}]}}, "cidr"),
    ],
)
def test_the_schema_refuses_and_names_the_value(chart, smallest_values, values, named) -> None:
    [(key, part)] = values.items()
    given = {**smallest_values, key: {**smallest_values.get(key, {}), **part}}
    with pytest.raises(helm_python.HelmValuesError, match=named):
        chart.validate_schema(given)
    with pytest.raises(helm_python.HelmError, match=named):
        chart.render(given, name="demo", namespace="worlds")
