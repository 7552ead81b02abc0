"""The gateway's settings."""

from __future__ import annotations

import pytest

from services.gateway.settings import GatewayConfig
from worldloom.config import parse_config
from worldloom.errors import ConfigError


def test_a_gateway_without_keys_listens_on_the_loopback_alone() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        parse_config(GatewayConfig, {"auth": "none", "host": "0.0.0.0"})
    parse_config(GatewayConfig, {"auth": "none", "host": "127.0.0.1"})


def test_two_keys_of_one_name_are_refused() -> None:
    key = {"key_id": "shop", "sha256": "0" * 64}
    with pytest.raises(ConfigError, match="shop"):
        parse_config(GatewayConfig, {"keys": [key, key]})


def test_a_key_itself_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="sha256"):
        parse_config(GatewayConfig, {"keys": [{"key_id": "shop", "sha256": "open sesame"}]})
