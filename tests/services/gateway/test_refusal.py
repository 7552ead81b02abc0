"""The table of codes."""

from __future__ import annotations

from pathlib import Path

from services.contract import ErrorCode
from services.gateway.refusal import REFUSALS, errors_page

PAGE = Path(__file__).parents[3] / "docs" / "serving-errors.md"


def test_every_code_has_its_row() -> None:
    assert set(REFUSALS) == set(ErrorCode)
    for refusal in REFUSALS.values():
        assert 400 <= refusal.http_status < 600
        assert refusal.close_code in {1000, 1001} or 4000 <= refusal.close_code < 5000


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == errors_page(), "run python -m services.gateway.refusal"
