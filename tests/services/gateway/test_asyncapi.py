"""The AsyncAPI document."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from services import protocol
from services.gateway.asyncapi import ASYNCAPI_PAGE, asyncapi, asyncapi_page


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_page_is_what_the_protocol_says() -> None:
    assert ASYNCAPI_PAGE.read_text() == asyncapi_page(), "run python -m services.gateway.asyncapi"
    assert yaml.safe_load(ASYNCAPI_PAGE.read_text()) == asyncapi()


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi()
    found = list(references(document))
    assert len(found) > 50
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_message_of_the_protocol_is_in_it() -> None:
    messages = asyncapi()["components"]["messages"]
    names = {message["name"] for message in messages.values()}
    assert {"open", "resume", "actions", "ready", "segment", "error", "frame"} <= names
    assert protocol.Open.__name__ in messages


@pytest.mark.anyio
async def test_the_gateway_serves_it(gateway) -> None:
    async with gateway() as running, running.http() as http:
        assert (await http.get("/asyncapi.json")).json() == asyncapi()
