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


@app.command("train")
def train(
    name: Annotated[str, typer.Argument(help="Name of an experiment whose arms are trained.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder with vae, and base for students; by default what is shipped."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of trained arms; a folder of the name is made in it.")
    ] = Path("out/arms"),
    data: Annotated[
        Path, typer.Option(help="Folder of clips; they are rendered where it has none.")
    ] = Path("out/arms/data"),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="path=value of how they are trained.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Train every arm under every seed, at equal steps on the same clips; what is there stays."""
    from worldloom.config import apply_overrides
    from worldloom.experiments.train_arms import TrainArmsConfig, train_arms

    given = [weights] if weights else _shipped()
    if not given:
        message = "--weights: expected a folder, since none is shipped here"
        raise typer.BadParameter(message)
    record = train_arms(
        name,
        apply_overrides(TrainArmsConfig(), set_ or []),
        weights=given[0],
        data=data,
        out=out / name,
        tell=lambda text: say(text, output),
    )
    rows = [
        {"arm": arm.arm, "seed": arm.seed, "steps": arm.num_steps, "seconds": arm.seconds}
        | {name: f"{value:.4f}" for name, value in arm.held_out.items()}
        for arm in record.arms
    ]
    emit_rows(rows, output, next_command=f"worldloom experiment run {name} --trained {out / name}")


@app.command("run")
def run(  # noqa: PLR0913 - each is an option of its own
    name: Annotated[str, typer.Argument(help="Name of an experiment.")],
    starter: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with base, student and vae; once for each training seed."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="ARM=FOLDER of an arm's own transformer; once for each training seed."),
    ] = None,
    trained: Annotated[
        Path | None, typer.Option(help="Folder of arms that `experiment train` wrote.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="path=value of how it is run, over all.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where it runs: cpu or cuda.")] = "cpu",
    work: Annotated[
        Path | None, typer.Option(help="Folder of finished cells; by default under the home.")
    ] = None,
    page: Annotated[
        bool, typer.Option(help="Write the page too; elsewhere `experiment page` does.")
    ] = True,
    output_dir: Annotated[
        Path, typer.Option(help="A folder of the experiment's name is written here.")
    ] = Path("docs/results"),
    output: OutputOption = Output.TABLE,
) -> None:
    """Run an experiment's arms over unseen worlds; a run that was ended goes on.

    Each finished arm and training seed is a file of its own and is not computed again.
    """
    from worldloom.bench.record import open_device
    from worldloom.config import apply_overrides
    from worldloom.experiments.catalogue import experiment
    from worldloom.experiments.networks import WeightFolders
    from worldloom.experiments.run import run_experiment
    from worldloom.experiments.setting import RunConfig, Setting
    from worldloom.experiments.training_record import read_training, trained_folders

    own = by_arm(checkpoint or []) | (trained_folders(trained) if trained else {})
    options = {"--starter": starter, "--checkpoint": checkpoint, "--set": set_}
    told = [f"{option} {value}" for option, values in options.items() for value in values or ()]
    told += [f"--trained {trained}"] if trained else []
    setting = Setting(
        experiment=experiment(name),
        config=apply_overrides(RunConfig(), set_ or []),
        folders=WeightFolders(starter or _shipped(), own),
        folder=_cells(work) / name,
        device=open_device(device),
        command=" ".join(["worldloom experiment run", name, *told, f"--device {device}"]),
        training=read_training(trained) if trained else None,
        tell=lambda text: say(text, Output.JSON),
    )
    cells = run_experiment(setting)
    if page:
        _write_page(setting.folder, output_dir / name, output)
    else:
        say(f"{len(cells)} cells in {setting.folder}", output)


@app.command("pack")
def pack(
    name: Annotated[str, typer.Argument(help="Name of an experiment that was run.")],
    out: Annotated[Path, typer.Option(help="Folder for the packed cells.")],
    work: Annotated[
        Path | None, typer.Option(help="Folder of finished cells; by default under the home.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Pack finished cells into files of at most 16 MiB, to write their page elsewhere."""
    from worldloom.experiments.packing import pack_cells

    volumes = pack_cells(_cells(work) / name, out)
    rows = [{"file": str(path), "bytes": path.stat().st_size} for path in volumes]
    packed = " ".join(f"--packed {path}" for path in volumes)
    emit_rows(rows, output, next_command=f"worldloom experiment page {name} {packed}")


@app.command("page")
def page_(
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
    from worldloom.experiments.packing import unpack_cells

    unpack_cells(packed or [], _cells(work))
    _write_page(_cells(work) / name, output_dir / name, output)


def _cells(work: Path | None) -> Path:
    from cli.pipeline_requests import home

    return work or home() / "experiments"


def _shipped() -> list[Path]:
    from cli.pipeline_requests import starter_folder

    folder = starter_folder(from_scratch=False)
    return [folder] if folder else []


def _write_page(cells: Path, folder: Path, output: Output) -> None:
    from worldloom.experiments.publish import publish

    book, paths = publish(cells, folder)
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
