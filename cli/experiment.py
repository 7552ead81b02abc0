"""`worldloom experiment`: put a claim to the test on unseen worlds, and write down what came of it.

The work is in `worldloom.experiments`; this module asks, runs, writes and tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows, say

if TYPE_CHECKING:
    from worldloom.experiments.book import Book

app = typer.Typer(
    help="Put claims to the test, and write down what came of it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Put claims to the test, and write down what came of it."""


@app.command("list")
def list_(output: OutputOption = Output.TABLE) -> None:
    """List the experiments, their arms and what is walked."""
    from worldloom.experiments.catalogue import EXPERIMENTS

    rows = [
        {
            "name": experiment.name,
            "arms": ", ".join(arm.name for arm in experiment.arms),
            "walks": ", ".join(f"{w.num_cases} {w.path}" for w in experiment.walks),
            "question": experiment.question,
        }
        for experiment in EXPERIMENTS.values()
    ]
    emit_rows(rows, output, next_command="worldloom experiment run memory --set num_cases=4")


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Name of an experiment.")],
    starter: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with base, student and vae; once for each training seed."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="ARM=FOLDER of an arm's own transformer; once for each training seed."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="path=value of how it is run, over all.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where it runs: cpu or cuda.")] = "cpu",
    work: Annotated[
        Path | None, typer.Option(help="Folder of finished cells; by default under the home.")
    ] = None,
    output_dir: Annotated[
        Path, typer.Option(help="A folder of the experiment's name is written here.")
    ] = Path("docs/results"),
    output: OutputOption = Output.TABLE,
) -> None:
    """Run an experiment's arms over unseen worlds; a run that was ended goes on.

    Each finished arm and training seed is a file of its own and is not computed again.
    """
    from cli.pipeline_requests import home, starter_folder
    from worldloom.bench.record import open_device
    from worldloom.config import apply_overrides
    from worldloom.experiments.catalogue import experiment
    from worldloom.experiments.networks import WeightFolders
    from worldloom.experiments.publish import publish
    from worldloom.experiments.run import run_experiment
    from worldloom.experiments.setting import RunConfig, Setting

    shipped = starter_folder(from_scratch=False)
    starters = starter or ([Path(shipped)] if shipped else [])
    options = {"--starter": starter, "--checkpoint": checkpoint, "--set": set_}
    told = [f"{option} {value}" for option, values in options.items() for value in values or ()]
    setting = Setting(
        experiment=experiment(name),
        config=apply_overrides(RunConfig(), set_ or []),
        folders=WeightFolders(starters, by_arm(checkpoint or [])),
        folder=(work or home() / "experiments") / name,
        device=open_device(device),
        command=" ".join(["worldloom experiment run", name, *told, f"--device {device}"]),
        tell=lambda text: say(text, Output.JSON),
    )
    run_experiment(setting)
    book, paths = publish(setting.folder, output_dir / name)
    _answer(book, paths, output)


@app.command("page")
def page(
    name: Annotated[str, typer.Argument(help="Name of an experiment that was run.")],
    packed: Annotated[
        list[Path] | None, typer.Option(help="Packed cells to take in first; repeatable.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of finished cells; by default under the home.")
    ] = None,
    output_dir: Annotated[
        Path, typer.Option(help="A folder of the experiment's name is written here.")
    ] = Path("docs/results"),
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the page of finished cells, wherever they were walked; weights are not needed."""
    from cli.pipeline_requests import home
    from worldloom.experiments.packing import unpack_cells
    from worldloom.experiments.publish import publish

    cells = work or home() / "experiments"
    unpack_cells(packed or [], cells)
    book, paths = publish(cells / name, output_dir / name)
    _answer(book, paths, output)


def by_arm(checkpoints: list[str]) -> dict[str, list[Path]]:
    """Return folders by arm, in the order in which they were given.

    Raises:
        ConfigError: for an option that is not ARM=FOLDER.
    """
    from worldloom.errors import ConfigError

    found: dict[str, list[Path]] = {}
    for option in checkpoints:
        arm, equals, folder = option.partition("=")
        if not (arm and equals and folder):
            message = f"--checkpoint {option!r}: expected ARM=FOLDER"
            raise ConfigError(message)
        found.setdefault(arm, []).append(Path(folder))
    return found


def _answer(book: Book, paths: list[Path], output: Output) -> None:
    if output is Output.JSON:
        from worldloom.config import resolved

        emit_fields(resolved(book), output)
    else:
        shown = [row for row in book.rows if row.figure in book.experiment.figures]
        emit_rows(
            [
                {
                    "walk": f"{row.world} {row.path}",
                    "figure": row.figure,
                    "arm": row.arm,
                    "value": f"{row.value.mean:.3f} [{row.value.low:.3f}, {row.value.high:.3f}]",
                    "against control": ""
                    if row.difference is None
                    else f"{row.difference.mean:+.3f} [{row.difference.low:+.3f},"
                    f" {row.difference.high:+.3f}]",
                }
                for row in shown
            ],
            output,
        )
    say(f"written: {', '.join(map(str, paths))}", output)
