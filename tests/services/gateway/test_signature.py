"""Secrets that are replaced while tokens are under way."""

from __future__ import annotations

import itertools

import pytest

from services.gateway.signature import InvalidToken, Signature

OLD, NEW = "the old secret, long enough to sign with", "the new secret, long enough to sign with"
CLAIMS = {"aud": "tests", "value": 7}


def test_the_first_line_signs_and_every_line_is_accepted() -> None:
    both = Signature(f"{NEW}\n{OLD}\n")
    assert both.read(Signature(OLD).sign(CLAIMS), audience="tests")["value"] == 7
    assert Signature(NEW).read(both.sign(CLAIMS), audience="tests")["value"] == 7


def test_a_secret_is_replaced_in_three_steps_of_which_neighbours_read_each_other() -> None:
    steps = [Signature(text) for text in (OLD, f"{OLD}\n{NEW}", f"{NEW}\n{OLD}", NEW)]
    for before, after in itertools.pairwise(steps):
        for signer, reader in ((before, after), (after, before)):
            assert reader.read(signer.sign(CLAIMS), audience="tests")["value"] == 7


@pytest.mark.parametrize(
    ("token", "audience"),
    [
        (Signature("another secret, that nobody here has").sign(CLAIMS), "tests"),
        (Signature(OLD).sign(CLAIMS), "somebody else"),
        ("no token", "tests"),
    ],
)
def test_what_no_secret_signed_for_us_is_refused(token, audience) -> None:
    with pytest.raises(InvalidToken):
        Signature(f"{NEW}\n{OLD}").read(token, audience=audience)


def test_there_must_be_a_secret() -> None:
    with pytest.raises(ValueError, match="no secret"):
        Signature(" \n")
