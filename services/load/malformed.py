"""Malformed messages: what a careless or hostile client could send, drawn from a seed.

Every text begins as a valid message of the protocol and is then damaged: in its values (types,
ranges, sizes, depths), in its fields, or in its characters. Some stay valid and are merely sent
when they make no sense. It knows the protocol's messages and no connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

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
