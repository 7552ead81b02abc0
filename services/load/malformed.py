"""Malformed messages: what a careless or hostile client could send, drawn from a seed.

Every text begins as a valid message of the protocol and is then damaged: in its values (types,
ranges, sizes, depths), in its fields, or in its characters. Some stay valid and are merely sent
when they make no sense. Requests for HTTP and tensors for KServe are damaged alike. It knows the
contract's and the protocol's messages and no connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services import contract
from services.contract import NUM_KEYS, NUM_MOUSE_AXES
from services.protocol import MAX_ACTIONS_PER_MESSAGE

Json = Any
_DEEP = 3000  # levels of nesting, past what recursive parsers stand

_VALUES: tuple[Json, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**64,
    -(2**70),
    1e308,
    -0.0,
    0.5,
    "",
    "\x00",
    "0",
    "\ud800",
    "\U0001d568\u202e",
    "../../etc/passwd",
    "'; drop table sessions; --",
    "{{7*7}}",
    "%s%n%x",
    "x" * 10_000,
    [],
    {},
    [[]],
    {"type": "open"},
    ["a"] * 1000,
)
_RAW = ("NaN", "Infinity", "-Infinity", "1e999", "01", "0x10", "'a'", "undefined", "", "[" * _DEEP)
_PLACEHOLDER = "@here@"

_METHODS = (
    "GET",
    "GET",
    "GET",
    "POST",
    "POST",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "BREW",
)
_PATHS = ("/", "/../../etc/passwd", "/%2e%2e/x", "//", "/v1", "/?" + "a=1&" * 500, "/" + "a" * 4000)
_HEADERS = (
    ("authorization", "Bearer a.b.c"),
    ("authorization", "Basic " + "x" * 5000),
    ("content-type", "application/json"),
    ("content-type", "text/plain; charset=nowhere"),
    ("content-encoding", "gzip"),
    ("traceparent", "00-zz-zz-01"),
    ("host", "elsewhere"),
    ("upgrade", "websocket"),
    ("range", "bytes=9-1"),
)
_SHARE_OF_DAMAGE = 0.3
_SESSION = "a session of the fuzzer"
_INFER_MESSAGES: tuple[Json, ...] = (
    {"type": "session_start", "session_id": _SESSION},
    {"type": "session_start", "session_id": "x" * 65, "seed": -1},
    {"type": "session_start", "session_id": "y", "encoding": "gif"},
    {"type": "session_resume", "session_id": "unknown", "last_frame_index": 3},
    {"type": "session_resume", "session_id": "z", "last_frame_index": -3},
    {"type": "actions", "session_id": _SESSION, "action_index": 0},
    {"type": "actions", "session_id": _SESSION, "action_index": 10**12},
    {"type": "actions", "session_id": "unknown", "action_index": 0},
    {"type": "frames_received", "session_id": _SESSION, "segment_index": 10**9},
    {"type": "session_pause", "session_id": "unknown"},
    {"type": "session_snapshot", "session_id": "../../etc"},
    {"type": "session_stop", "session_id": _SESSION},
    {"type": "describe", "more": [None] * 100},
    [],
    "describe",
)


def messages(seed: int) -> Iterator[str | bytes]:
    """Yield damaged messages without end; the same seed yields the same ones."""
    random = Random(seed)
    damages: tuple[Callable[[Json, Random], str | bytes], ...] = (
        _with_odd_value,
        _with_odd_value,
        _with_raw_value,
        _without_field,
        _with_extra_field,
        _cut,
        _with_odd_bytes,
        _repeated,
        _too_long,
        _untouched,
    )
    while True:
        yield random.choice(damages)(_valid(random), random)


@dataclass(frozen=True)
class HttpRequest:
    """One request that nobody should send."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def requests(seed: int, paths: Sequence[str]) -> Iterator[HttpRequest]:
    """Yield odd requests without end, to these paths and to ones that do not exist."""
    random = Random(seed)
    texts = messages(seed)
    while True:
        text = next(texts)
        path = random.choice((*paths, *_PATHS, random.choice(paths) + random.choice(_PATHS)))
        yield HttpRequest(
            method=random.choice(_METHODS),
            path=path.replace("{name}", random.choice(("world", "%00", "x" * 3000, "..%2f.."))),
            headers=dict(random.sample(_HEADERS, random.randrange(3))),
            body=text if isinstance(text, bytes) else text.encode(errors="surrogatepass"),
        )


def infer_inputs(seed: int) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Yield tensors by name without end: wrong messages, wrong shapes and values beside them."""
    random = Random(seed)
    while True:
        message = json.dumps(random.choice(_INFER_MESSAGES))
        if random.random() < _SHARE_OF_DAMAGE:
            message = message[: random.randrange(len(message))]
        encoded = np.array([message.encode()], dtype=np.object_)
        inputs: dict[str, NDArray[np.generic]] = {contract.MESSAGE: encoded}
        for name in random.sample((contract.IMAGE, contract.KEYBOARD, contract.MOUSE), 2):
            inputs[name] = _odd_array(name, random)
        yield inputs


def _odd_array(name: str, random: Random) -> NDArray[np.generic]:
    if name == contract.IMAGE:
        return np.zeros([random.choice((0, 1, 3, 64)) for _ in range(3)], np.uint8)
    shape = random.choice(((0, 0), (1, 1), (12, 6), (12, 2), (3, 9), (5000, 2), (5000, 6)))
    value = random.choice((0.0, 1.0, 0.5, -1.0, np.nan, np.inf, 1e38, 12.5))
    return np.full(shape, value, np.float32)


def _valid(random: Random) -> Json:
    num_actions = random.choice((1, 12, MAX_ACTIONS_PER_MESSAGE + 1))
    actions = {
        "type": "actions",
        "action_index": random.randrange(100),
        "keyboard": [[0.0] * NUM_KEYS for _ in range(num_actions)],
        "mouse": [[0.0] * NUM_MOUSE_AXES for _ in range(random.choice((num_actions, 1)))],
    }
    return random.choice(
        (
            {"type": "open", "version": 1, "seed": random.randrange(99), "encoding": "jpeg"},
            {"type": "open", "version": random.choice((0, 2)), "token": "a.b.c", "image": "AAAA"},
            {"type": "open", "world": "nowhere", "release": "sha256:0", "traceparent": "00-0-0-0"},
            {"type": "resume", "version": 1, "resume_token": "e30.e30.e30", "last_frame_index": 3},
            actions,
            actions,
            {"type": "frames_received", "segment_index": random.randrange(10**6)},
            {"type": "pause"},
            {"type": "continue"},
            {"type": "snapshot"},
            {"type": "close", "finish_queue": bool(random.randrange(2))},
            {"type": "ping", "nonce": random.randrange(2**53)},
        )
    )


def _places(value: Json) -> list[tuple[Json, Json]]:
    """Return every (container, key) of a tree."""
    found: list[tuple[Json, Json]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        found.append((value, key))
        if isinstance(child, (dict, list)):
            found.extend(_places(child))
    return found


def _put(message: Json, value: Json, random: Random) -> Json:
    container, key = random.choice(_places(message))
    container[key] = value
    return message


def _with_odd_value(message: Json, random: Random) -> str:
    return json.dumps(_put(message, random.choice(_VALUES), random))


def _with_raw_value(message: Json, random: Random) -> str:
    text = json.dumps(_put(message, _PLACEHOLDER, random))
    return text.replace(json.dumps(_PLACEHOLDER), random.choice(_RAW), 1)


def _without_field(message: Json, random: Random) -> str:
    del message[random.choice(list(message))]
    return json.dumps(message)


def _with_extra_field(message: Json, random: Random) -> str:
    name = random.choice(("speed", "__proto__", "type ", "", "session_id"))
    return json.dumps({**message, name: random.choice(_VALUES)})


def _cut(message: Json, random: Random) -> str:
    text = json.dumps(message)
    return text[: random.randrange(len(text))]


def _with_odd_bytes(message: Json, random: Random) -> bytes:
    data = bytearray(json.dumps(message).encode())
    for _ in range(random.randrange(1, 8)):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def _repeated(message: Json, random: Random) -> str:
    text = json.dumps(message)
    return random.choice((text + text, f"[{text}]", text.replace("{", '{"type": "ping", ', 1)))


def _too_long(message: Json, random: Random) -> str:
    return json.dumps(_put(message, "y" * random.choice((70_000, 300_000)), random))


def _untouched(message: Json, random: Random) -> str:  # noqa: ARG001
    return json.dumps(message)
