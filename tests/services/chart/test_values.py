from __future__ import annotations

import pytest

from services.chart.values import Address, ChartValues, Image, Inference, ServedRelease
from services.inference.engine import EngineConfig
from worldloom.config import parse_config
from worldloom.errors import ConfigError


def test_keys_are_camel_case_but_the_engines_own_stay() -> None:
    values = ChartValues().model_dump(mode="json", by_alias=True)
    assert values["inference"]["drainSeconds"] == 3600
    assert values["inference"]["engine"] == EngineConfig().model_dump(mode="json")


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        parse_config(Inference, {"replcas": 2})


@pytest.mark.parametrize("digest", ["latest", "sha256:abc", "b" * 64])
def test_an_image_is_known_by_its_digest_alone(digest: str) -> None:
    with pytest.raises(ConfigError, match="digest"):
        parse_config(Image, {"digest": digest})


def test_a_release_is_an_artifact_of_an_s3_store() -> None:
    uri = f"s3://worldloom/demo/artifacts/{'a' * 64}"
    assert parse_config(ServedRelease, {"uri": uri}).uri == uri
    with pytest.raises(ConfigError, match="uri"):
        parse_config(ServedRelease, {"uri": "s3://worldloom/latest"})


def test_addresses_are_ranges() -> None:
    assert parse_config(Address, {"cidr": "fd00::/8", "port": 443}).port == 443
    with pytest.raises(ConfigError, match="cidr"):
        parse_config(Address, {"cidr": "example.org", "port": 443})


def test_every_value_says_what_it_means() -> None:
    schema = ChartValues.model_json_schema()
    for name, definition in {**schema["$defs"], "ChartValues": schema}.items():
        for key, field in definition["properties"].items():
            assert field.get("description"), f"{name}.{key}"
