from __future__ import annotations

import pytest

from services.client.endpoint import Endpoint, is_gateway_address


@pytest.mark.parametrize("url", ["http://h:8080", "ws://h:8080/", "ws://h:8080/v1/session"])
def test_one_address_gives_both(url: str) -> None:
    assert Endpoint.parse(url) == Endpoint("ws://h:8080/v1/session", "http://h:8080/v1/token")


def test_secure_addresses_stay_secure_and_paths_before_ours_are_kept() -> None:
    assert Endpoint.parse("https://h/worlds/") == Endpoint(
        "wss://h/worlds/v1/session", "https://h/worlds/v1/token"
    )


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "ftp://h", "http://", "h"])
def test_another_address_is_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected ws://, wss://, http:// or https://"):
        Endpoint.parse(url)
    assert url == "http://" or not is_gateway_address(url)


def test_gateways_are_told_from_inference_servers() -> None:
    assert is_gateway_address("http://127.0.0.1:8080")
    assert not is_gateway_address("localhost:8001")
