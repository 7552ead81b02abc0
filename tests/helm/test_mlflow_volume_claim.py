"""The tracking server's volume."""

from __future__ import annotations


def test_it_outlives_the_release(render) -> None:
    [claim] = render()
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_size_and_class_are_the_values(render) -> None:
    [claim] = render({"mlflow": {"storage": {"size": "7Gi", "className": "fast"}}})
    assert claim["spec"]["resources"]["requests"]["storage"] == "7Gi"
    assert claim["spec"]["storageClassName"] == "fast"


def test_without_a_class_the_cluster_chooses(render) -> None:
    [claim] = render()
    assert "storageClassName" not in claim["spec"]


def test_no_volume_without_mlflow(render) -> None:
    assert render({"mlflow": {"enabled": False}}) == []
