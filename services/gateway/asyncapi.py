"""The WebSocket protocol as an AsyncAPI 3 document, made from the protocol's own classes.

`python -m services.gateway.asyncapi` writes `docs/asyncapi.yaml`; the gateway serves the same at
`/asyncapi.json`. It does not know sessions.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, TypeAdapter

from services import protocol
from services.gateway.refusal import REFUSALS
from worldloom.config import JsonValue

ASYNCAPI_PAGE = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
_REF = "#/components/schemas/{model}"
_CHANNEL = "session"
_FRAME = "VideoFrame"

Json = dict[str, JsonValue]


def asyncapi() -> Json:
    """Return the document."""
    from_client, to_client = _models(protocol.ClientMessage), _models(protocol.ServerMessage)
    names = [model.__name__ for model in (*from_client, *to_client)]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Worldloom sessions",
            "version": str(protocol.PROTOCOL_VERSION),
            # Its last paragraph is about the module's imports, for those who read the source.
            "description": _text(protocol).rpartition("\n\n")[0],
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_CHANNEL: _channel([*names, _FRAME])},
        "operations": {
            "hear": _operation("receive", from_client, "What a client may say."),
            "tell": _operation("send", to_client, "What the gateway says.", _FRAME),
        },
        "components": {
            "schemas": _schemas(),
            "messages": {
                **{model.__name__: _message(model) for model in (*from_client, *to_client)},
                _FRAME: _frame_message(),
            },
        },
    }


def asyncapi_page() -> str:
    """Return the document as YAML."""
    head = "# Made by `python -m services.gateway.asyncapi`; edit services/protocol.py instead.\n"
    text: str = yaml.dump(asyncapi(), Dumper=_Dumper, sort_keys=False, width=96)
    return head + text


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it stands."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def _models(union: object) -> tuple[type[BaseModel], ...]:
    """Return the members of an annotated union."""
    members, *_ = get_args(union)
    return get_args(members)


def _schemas() -> Json:
    definitions: Json = {}
    unions: tuple[Any, ...] = (protocol.ClientMessage, protocol.ServerMessage)
    for union in unions:
        schema = TypeAdapter(union).json_schema(ref_template=_REF)
        definitions |= schema["$defs"]
    return definitions


def _channel(names: list[str]) -> Json:
    codes = sorted({refusal.close_code for refusal in REFUSALS.values()} | {protocol.CLOSE_NORMAL})
    return {
        "address": protocol.SESSION_PATH,
        "title": "One session",
        "description": (
            f"A WebSocket, subprotocol `{protocol.SUBPROTOCOL}`. Text is JSON, binary is a video"
            f" frame. It is closed with one of {', '.join(map(str, codes))}."
        ),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"ws": {"method": "GET"}},
    }


def _operation(action: str, models: tuple[type[BaseModel], ...], summary: str, *more: str) -> Json:
    names = [*(model.__name__ for model in models), *more]
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{_CHANNEL}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{_CHANNEL}/messages/{name}"} for name in names],
    }


def _message(model: type[BaseModel]) -> Json:
    return {
        "name": str(model.model_fields["type"].default),
        "title": model.__name__,
        "summary": _text(model),
        "payload": {"$ref": _REF.format(model=model.__name__)},
    }


def _frame_message() -> Json:
    return {
        "name": "frame",
        "title": _FRAME,
        "summary": (
            f"One encoded frame behind a header of {protocol.HEADER_BYTES} bytes, little-endian:"
            " u8 version, u8 kind (0 JPEG, 1 and 2 H.264 that can and cannot be decoded by"
            " itself), u16 zero, u32 segment, u32 frame, i32 action, f64 milliseconds since 1970"
            " as it was sent."
        ),
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
    }


def _text(documented: object) -> str:
    return inspect.getdoc(documented) or ""


def main() -> None:
    """Write the page."""
    ASYNCAPI_PAGE.write_text(asyncapi_page())


if __name__ == "__main__":
    main()
