"""Renders the chart in this process: the smallest values that it accepts, and variants of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

CHART = Path(__file__).parents[2] / "helm" / "worldloom"
HEX = "a" * 64
IMAGE = {"repository": "images.invalid/worldloom", "digest": f"sha256:{'b' * 64}"}
SMALLEST = {
    "release": {"uri": f"s3://worldloom/artifacts/{HEX}", "digest": f"sha256:{HEX}"},
    "store": {"credentialsSecret": "store-keys", "seaweedfs": {"image": IMAGE}},
    "inference": {"image": IMAGE},
    "gateway": {"image": IMAGE, "tokenSecret": "token-secret", "keysSecret": "api-keys"},
    "mlflow": {"image": IMAGE},
}
PEER = {"podLabels": [{"key": "app", "value": "client"}]}
VARIANTS: dict[str, dict[str, Any]] = {
    "smallest": {},
    "gpu": {
        "inference": {
            "device": "gpu",
            "gpu": {"runtimeClassName": "nvidia"},
            "nodeLabels": [{"key": "gpu", "value": "yes"}],
            "tolerations": [{"key": "gpu"}, {"key": "team", "value": "worlds"}],
        },
        "imagePullSecrets": ["pull-secret"],
    },
    "outside": {
        "store": {"kind": "external", "endpoint": "https://s3.example.org"},
        "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
        "mlflow": {
            "database": {
                "kind": "postgres",
                "secret": "database",
                "addresses": [{"cidr": "10.1.0.0/16", "port": 5432}],
            }
        },
        "inference": {"clients": [PEER, PEER]},
        "gateway": {
            "settings": {"otlp_endpoint": "https://traces.example.org/v1/traces"},
            "addresses": [{"cidr": "10.2.0.0/16", "port": 443}],
            "ingress": {"enabled": True, "host": "play.example.org", "tlsSecret": "tls"},
        },
    },
    "candidate": {
        "release": {
            "version": "7",
            "candidate": {
                "uri": f"s3://worldloom/artifacts/{'c' * 64}",
                "digest": f"sha256:{'c' * 64}",
                "version": "8",
            },
        },
        "gateway": {
            "settings": {"otlp_endpoint": "http://collector:4318/v1/traces"},
            "collectors": [PEER],
        },
    },
    "scaled": {
        "monitoring": {"podMonitors": {"enabled": True}},
        "autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"},
    },
    "nothing": {"inference": {"enabled": False}, "mlflow": {"enabled": False}},
}
Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        is_deeper = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if is_deeper else value
    return result


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a `variant` with each of them."""
    if "variant" in metafunc.fixturenames:
        metafunc.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture(scope="session")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def smallest_values() -> dict[str, Any]:
    return merged(SMALLEST, {})


@pytest.fixture(scope="session")
def values_with() -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return the smallest values with others over them."""
    return lambda values: merged(SMALLEST, values)


@pytest.fixture(scope="session")
def render_all(chart: helm_python.Chart) -> Callable[..., dict[str, list[Manifest]]]:
    """Return the manifests of every template, by its file's name."""

    texts: dict[str, dict[str, str]] = {}

    def render(
        values: Mapping[str, Any] | None = None, *, name: str = "demo"
    ) -> dict[str, list[Manifest]]:
        key = json.dumps([name, values or {}])
        if key not in texts:
            given = merged(SMALLEST, values or {})
            texts[key] = chart.render(given, name=name, namespace="worlds")
        return {
            Path(path).name: [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]
            for path, text in texts[key].items()
            if path.endswith(".yaml")
        }

    return render


@pytest.fixture
def render(
    request: pytest.FixtureRequest, render_all: Callable[..., dict[str, list[Manifest]]]
) -> Render:
    """Return the manifests of the template that the test module is named after."""
    template = request.path.stem.removeprefix("test_").replace("_", "-") + ".yaml"

    def render(values: Mapping[str, Any] | None = None) -> list[Manifest]:
        return render_all(values)[template]

    return render
