"""The page `docs/cli.md`, made from the commands themselves.

`python -m cli.reference` writes it; a test compares. It does not know what the commands do.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import NOUNS
from worldloom.errors import WorldloomError

if TYPE_CHECKING:
    from typer._click import Command, Parameter

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
_INTRODUCTION = """# Command line

Made by `python -m cli.reference` from the commands themselves.

`worldloom <noun> <verb>`. Answers go to standard output, as a table or with `--output json`; what
is meant for people goes to standard error then. Every success names the command that comes next,
every failure is one sentence on standard error and an exit code.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | success |
| 1 | something unexpected (`WORLDLOOM_DEBUG=1` shows where) |
"""
_OTHER_CODES = """| 130 | stopped by Ctrl-C or cancelled |
| 137 | killed |

## Environment

| variable | meaning |
| --- | --- |
| `WORLDLOOM_HOME` | folder of the local state; by default `out` in the current folder |
| `WORLDLOOM_STORE` | artifact store: a folder or `s3://bucket/prefix`; by default `<home>/store` |
| `WORLDLOOM_STARTER` | folder of starter weights; by default those that the library carries |
| `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` | the S3 server and its keys |
| `MLFLOW_TRACKING_URI` | a tracking server; by default one is started under `<home>/mlflow` |
| `WORLDLOOM_DEBUG` | `1` shows where an unexpected failure came from |

## Commands
"""


def page_text() -> str:
    """Return the text of the page."""
    return _INTRODUCTION + "\n".join(_exit_codes()) + "\n" + _OTHER_CODES + _commands_text()


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_text(), encoding="utf-8")
    typer.echo(str(PAGE))


def _exit_codes() -> Iterator[str]:
    classes = sorted(WorldloomError.__subclasses__(), key=lambda cls: cls.exit_code)
    for cls in classes:
        meaning = inspect.getdoc(cls) or ""
        yield f"| {cls.exit_code} | {_as_phrase(meaning)} |"


def _as_phrase(sentence: str) -> str:
    first = " ".join(sentence.split("\n\n")[0].split()).rstrip(".")
    return first[:1].lower() + first[1:]


def _commands_text() -> str:
    parts = []
    for name, noun in NOUNS.items():
        if importlib.util.find_spec(noun.module) is not None:
            app: typer.Typer = vars(importlib.import_module(noun.module))["app"]
            parts.append(f"\n### {name}\n\n{noun.help}\n")
            parts.extend(_command_text(path, command) for path, command in _tree(app, name))
    return "".join(parts)


def _tree(app: typer.Typer, name: str) -> Iterator[tuple[str, Command]]:
    """Yield each command that can be run, with the words that run it."""

    def below(path: str, command: Command) -> Iterator[tuple[str, Command]]:
        if isinstance(command, TyperGroup) and command.commands:
            for verb, child in command.commands.items():
                yield from below(f"{path} {verb}", child)
        else:
            yield path, command

    yield from below(name, get_command(app))


def _command_text(path: str, command: Command) -> str:
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = "".join(f" {_argument(p)}" for p in shown if p.param_type_name == "argument")
    lines = [f"\n#### `worldloom {path}{arguments}`\n", _as_sentence(command.help or "")]
    rows = [_row(parameter) for parameter in shown]
    if rows:
        lines += ["", "| option | meaning | default |", "| --- | --- | --- |", *rows]
    return "\n".join(lines) + "\n"


def _argument(parameter: Parameter) -> str:
    name = (parameter.name or "").upper()
    return name if parameter.required else f"[{name}]"


def _row(parameter: Parameter) -> str:
    if parameter.param_type_name == "argument":
        names = (parameter.name or "").upper()
    else:
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    meaning = vars(parameter).get("help") or ""
    return f"| `{names}` | {_as_sentence(meaning)} | {_default(parameter)} |"


def _default(parameter: Parameter) -> str:
    default = parameter.default
    if parameter.required or default in (None, "", False, ()) or callable(default):
        return "required" if parameter.required else ""
    return f"`{default}`"


def _as_sentence(text: str) -> str:
    sentence = " ".join(text.split("\n\n")[0].split())
    return sentence.replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    main()
