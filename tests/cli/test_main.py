"""The command line's entry: quick help, one sentence and one exit code per failure."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from cli.main import NOUNS, Noun, run_command
from worldloom.errors import StoreError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def noun(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """Return the app of a noun `fake` that only this test has."""
    module = ModuleType("fake_noun")
    app = typer.Typer()
    vars(module)["app"] = app
    vars(module)["__spec__"] = vars(sys.modules["json"])["__spec__"]
    monkeypatch.setitem(sys.modules, "fake_noun", module)
    nouns = {**NOUNS, "fake": Noun("fake_noun", "A noun.")}
    monkeypatch.setattr("cli.main.NOUNS", nouns)
    return app


def test_help_imports_no_noun() -> None:
    code = (
        "import sys, cli.main\n"
        "code = cli.main.run_command(['--help'])\n"
        "slow = ('cli.pipeline', 'rich.console', 'pydantic', 'torch', 'kfp', 'mlflow')\n"
        "print([name for name in slow if name in sys.modules], code)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pipeline" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[] 0"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_an_error_of_the_project_is_one_sentence_and_its_code(
    noun: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    @noun.command()
    def fail() -> None:
        message = "the bucket is full, expected space"
        raise StoreError(message)

    assert run_command(["fake"]) == StoreError.exit_code == 4
    assert capsys.readouterr().err == "worldloom: the bucket is full, expected space\n"


def test_an_unexpected_error_has_no_traceback(
    noun: typer.Typer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLDLOOM_DEBUG", raising=False)

    @noun.command()
    def fail() -> None:
        message = "never"
        raise ZeroDivisionError(message)

    assert run_command(["fake"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("worldloom: unexpected ZeroDivisionError: never")
    assert told.count("\n") == 1


def test_exit_codes_of_commands_are_kept(noun: typer.Typer) -> None:
    @noun.command()
    def leave(code: int) -> None:
        raise typer.Exit(code)

    assert run_command(["fake", "7"]) == 7
    assert run_command(["fake", "0"]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["pipelin"],
            "no such command 'pipelin'. Did you mean 'pipeline'? (see: worldloom --help)",
        ),
        (["pipeline", "rum"], "no such command 'rum'"),
        (["pipeline", "run", "--presett", "x"], "no such option: --presett"),
        (["pipeline", "explain", "--output", "xml"], "invalid value for '--output'"),
        (["pipeline", "status", "nothing"], "run 'nothing': 0 runs fit"),
        (["pipeline", "explain", "--pipeline", "word_model"], "no pipeline 'word_model'"),
        (["pipeline", "explain", "--preset", "big"], "no preset 'big'"),
        (["pipeline", "explain", "--argument", "x"], "--argument 'x': expected name=value"),
        (["pipeline", "compile", "--out", "x.txt"], "expected a file that ends in .yaml"),
        (["pipeline", "schedule", "remove", "x"], "no schedule 'x'"),
    ],
)
def test_a_wrong_use_is_one_sentence(
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("WORLDLOOM_HOME", str(tmp_path))
    assert run_command(arguments) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_a_noun_whose_module_is_not_there_is_not_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cli.main.NOUNS", {**NOUNS, "ghost": Noun("cli.ghost", "Not there.")})
    assert run_command(["--help"]) == 0
    assert "ghost" not in capsys.readouterr().out
    assert run_command(["ghost"]) == 2
