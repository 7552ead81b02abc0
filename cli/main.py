"""The entry of the command `worldloom`: which nouns there are, and how failures are told.

A noun's module is imported only when it is used, so that `--help` answers at once. Errors of the
project become one sentence on standard error and the exit code of their class. It knows nothing of
what the nouns do.

Exit codes: 0 success; 1 an unexpected failure; 2 a wrong option, setting or value; 3 a missing or
damaged artifact; 4 the store; 5 a clip, action file or image; 6 the tracking server; 7 a refused
promotion; 8 serving; 9 the machine; 10 training; 130 cancelled; 137 killed.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer
from typer._click.exceptions import UsageError
from typer.core import TyperGroup
from typer.main import get_command

from worldloom.errors import WorldloomError

if TYPE_CHECKING:
    from typer._click import Command, Context

logger = logging.getLogger(__name__)

UNEXPECTED_EXIT_CODE = 1
CANCELLED_EXIT_CODE = 130
DEBUG_VARIABLE = "WORLDLOOM_DEBUG"


@dataclass(frozen=True)
class Noun:
    """A part of the command line.

    Attributes:
        module: where its `app` is.
        help: one line for `--help`, known without importing the module.
    """

    module: str
    help: str


NOUNS: Mapping[str, Noun] = {
    "pipeline": Noun("cli.pipeline", "Run, follow, explain, compile and schedule pipelines."),
    "data": Noun("cli.data", "Ingest clips and describe them."),
    "model": Noun("cli.model", "Describe models and their presets."),
    "train": Noun("cli.train", "Train outside a pipeline, such as the starter weights."),
    "registry": Noun("cli.registry", "List model versions and promote them under guard."),
    "up": Noun("cli.up", "Serve a release with gateway and viewer, at one address."),
    "serve": Noun("cli.serve", "Serve a release."),
    "play": Noun("cli.play", "Send actions to a server and keep its frames."),
    "demo": Noun("cli.demo", "Go the whole path once, from captured worlds to served frames."),
    "doctor": Noun("cli.doctor", "Check this machine, and say how to mend what is missing."),
    "chaos": Noun("cli.chaos", "Break things on purpose and compare what comes of it."),
    "bench": Noun("cli.bench", "Measure, and write the figures down."),
    "experiment": Noun("cli.experiment", "Put claims to the test on unseen worlds."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - the framework's signature
        """Return the nouns whose module is there, without importing it."""
        return [name for name, noun in NOUNS.items() if importlib.util.find_spec(noun.module)]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return a noun's command if it was asked for, else a stand-in with its one line."""
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            self.add_command(_stand_in(cmd_name, NOUNS[cmd_name]), cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """Import the module of the noun that is asked for."""
        names = self.list_commands(ctx)
        if args[0] in names:
            module = importlib.import_module(NOUNS[args[0]].module)
            noun_app: typer.Typer = vars(module)["app"]
            self.add_command(get_command(noun_app), args[0])
        else:
            for name in names:
                self.get_command(ctx, name)  # so that a mistyped one gets a suggestion
        return super().resolve_command(ctx, args)


def _stand_in(name: str, noun: Noun) -> Command:
    stand_in = typer.Typer(add_completion=False)
    stand_in.command(name=name, help=noun.help)(lambda: None)
    return get_command(stand_in)


app = typer.Typer(
    cls=LazyGroup,
    help="Worldloom: world models, from captured worlds to streamed frames.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 success, 1 unexpected, 2 option or setting, 3 artifact, 4 store, "
    "5 clip or action file, 6 tracking, 7 promotion refused, 8 serving, 9 machine, 10 training, "
    "130 cancelled, 137 killed.",
)


@app.callback()
def _root() -> None:
    """Worldloom: world models, from captured worlds to streamed frames."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code; failures are one sentence on standard error."""
    try:
        code = app(arguments or ["--help"], prog_name="worldloom", standalone_mode=False)
    except typer.TyperException as error:
        _tell(_usage_sentence(error))
        return error.exit_code
    except typer.Abort:
        _tell("stopped")
        return CANCELLED_EXIT_CODE
    except WorldloomError as error:
        _tell(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _tell("stopped")
        return CANCELLED_EXIT_CODE
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            logger.exception("command_failed")
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        _tell(f"unexpected {told} (set {DEBUG_VARIABLE}=1 to see where)")
        return UNEXPECTED_EXIT_CODE
    return code if isinstance(code, int) else 0


def _usage_sentence(error: typer.TyperException) -> str:
    """Return a wrong use in one sentence, with the command that explains."""
    sentence = error.format_message().rstrip(".")
    if isinstance(error, UsageError) and error.ctx is not None:
        return f"{sentence[:1].lower()}{sentence[1:]} (see: {error.ctx.command_path} --help)"
    return sentence


def _tell(sentence: str) -> None:
    typer.echo(f"worldloom: {sentence}", err=True)


if __name__ == "__main__":
    main()
