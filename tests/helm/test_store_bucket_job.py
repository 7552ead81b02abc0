"""The job that makes the bucket."""

from __future__ import annotations

from services import make_bucket

EXTERNAL = {
    "store": {"kind": "external", "endpoint": "https://s3.example.org"},
    "networkPolicy": {"storeAddresses": [{"cidr": "10.0.0.0/8", "port": 443}]},
}


def test_it_runs_our_code_on_the_bucket(render) -> None:
    [job] = render({"store": {"bucket": "worlds"}})
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-m", make_bucket.__name__]
    assert container["args"] == ["s3://worlds"]
    names = [entry["name"] for entry in container["env"]]
    assert names == [
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ]


def test_another_bucket_is_another_job(render) -> None:
    [one] = render()
    [same] = render({"inference": {"replicas": 2}})
    [other] = render({"store": {"bucket": "worlds"}})
    assert one["metadata"]["name"] == same["metadata"]["name"]
    assert one["metadata"]["name"] != other["metadata"]["name"]


def test_none_where_the_cluster_has_a_store(render) -> None:
    assert render(EXTERNAL) == []
