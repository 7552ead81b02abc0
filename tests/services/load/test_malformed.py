"""Malformed messages: reproducible, of every kind, and mostly refused by the protocol."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from services.contract import SessionError
from services.load.malformed import messages
from services.protocol import parse_client_message


def test_one_seed_yields_the_same_messages() -> None:
    assert list(islice(messages(4), 200)) == list(islice(messages(4), 200))
    assert list(islice(messages(4), 200)) != list(islice(messages(5), 200))


@pytest.mark.slow
def test_most_are_refused_and_none_breaks_the_parser() -> None:
    fate: Counter[str] = Counter()
    longest = 0
    for message in islice(messages(0), 5000):
        try:
            fate[parse_client_message(message).type] += 1
        except SessionError as error:
            fate[error.code] += 1
            longest = max(longest, len(error.message))
    assert longest < 2000  # the value is quoted with its escapes
    assert fate["bad_message"] > 2500
    assert set(fate) >= {"open", "resume", "actions", "frames_received", "close", "ping"}
