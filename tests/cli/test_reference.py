from __future__ import annotations

from cli import reference
from cli.main import NOUNS
from worldloom.errors import WorldloomError


def test_the_page_is_what_the_commands_make() -> None:
    assert reference.PAGE.read_text() == reference.page_text(), "run: python -m cli.reference"


def test_every_exit_code_is_explained() -> None:
    text = reference.page_text()
    for cls in WorldloomError.__subclasses__():
        assert f"\n| {cls.exit_code} | " in text


def test_commands_stand_with_their_options() -> None:
    text = reference.page_text()
    assert "#### `worldloom pipeline run`" in text
    assert "#### `worldloom doctor`" in text
    assert "| `--output, -o` |" in text
    for noun in ("pipeline", "registry", "serve", "play"):
        assert f"\n### {noun}\n\n{NOUNS[noun].help}\n" in text


def test_angle_brackets_are_shown_as_they_are() -> None:
    body = reference.page_text().partition("## Commands")[2]
    assert "<home>" not in body
    assert "&lt;home&gt;" in body
