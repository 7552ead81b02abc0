"""`worldloom registry`: which releases were champion, why, and moving the champion under guard.

`audit`, `show` and `champion` need no server: they read the audit log in the store. The others ask
MLflow: the server that the environment names, or the local one, started for the while if need be.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, emit_rows, say
from cli.pipeline_requests import home, store_address

if TYPE_CHECKING:
    from services.registry import ChampionRecord
    from services.registry.promotion import Guard
    from worldloom.store import ArtifactStore

app = typer.Typer(
    help="List model versions and promote them under guard.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

ModelOption = Annotated[str, typer.Option(help="Name of the registered model.")]
StoreOption = Annotated[
    str, typer.Option(help="Artifact store; by default WORLDLOOM_STORE or <home>/store.")
]
ReasonOption = Annotated[str, typer.Option(help="Why, in your words; kept in the audit log.")]
ReportOption = Annotated[str, typer.Option(help="Digest of its evaluation report.")]


@app.command("list")
def list_(
    model: ModelOption = "worldloom", store: StoreOption = "", output: OutputOption = Output.TABLE
) -> None:
    """List the registered versions, oldest first, with the champion marked."""
    with _guard(model, store, output) as guard:
        champion = guard.checked_champion()
        rows = [
            {
                "version": version.version,
                "champion": champion is not None and champion.version == version.version,
                "release": version.release,
                "report": version.tags.get("report_digest", ""),
                "clips": version.tags.get("clips_digest", ""),
                "git_sha": version.tags.get("git_sha", ""),
                "source": version.source,
            }
            for version in guard.models.versions()
        ]
    following = f"worldloom registry show {champion.version}" if champion else ""
    emit_rows(rows, output, next_command=following or "worldloom pipeline run")


@app.command()
def champion(
    model: ModelOption = "worldloom", store: StoreOption = "", output: OutputOption = Output.TABLE
) -> None:
    """Tell who is champion, from the audit log alone."""
    from services.registry import current_champion

    _emit_champion(current_champion(_open(store), model), output)


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    model: ModelOption = "worldloom",
    store: StoreOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a version came from: digests, steps, runs and commits."""
    from services.registry.lineage import ancestry

    opened = _open(store)
    release, report = _release_of(opened, model, version, store, output)
    rows = [
        {
            "kind": ancestor.kind or "(not in the store)",
            "digest": ancestor.digest,
            "step": ancestor.step,
            "run": ancestor.run,
            "commit": ancestor.commit[:12],
        }
        for ancestor in ancestry(opened, release)
    ]
    if report:
        rows.append({"kind": "evaluation-report", "digest": report, **_made_by(opened, report)})
    emit_rows(rows, output, next_command="worldloom registry audit")


@app.command()
def promote(
    release: Annotated[str, typer.Argument(help="Digest of the release.")],
    report: ReportOption,
    model: ModelOption = "worldloom",
    store: StoreOption = "",
    reason: ReasonOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a release champion if its report says that it may; a refusal exits with 7."""
    from components.provenance import source_commit

    with _guard(model, store, output) as guard:
        outcome = guard.promote(release, report, commit=source_commit() or "", reason=reason)
    following = "worldloom serve" if outcome.decision != "refused" else "worldloom registry list"
    emit_fields(outcome.model_dump(mode="json"), output, next_command=following)
    if outcome.decision == "refused":
        raise typer.Exit(7)


@app.command()
def rollback(
    to: Annotated[str, typer.Option(help="Former champion; by default the last one.")] = "",
    model: ModelOption = "worldloom",
    store: StoreOption = "",
    reason: ReasonOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a former champion champion again."""
    with _guard(model, store, output) as guard:
        record = guard.rollback(to, reason=reason)
    _emit_champion(record, output)


@app.command()
def adopt(
    model: ModelOption = "worldloom",
    store: StoreOption = "",
    reason: ReasonOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Accept where somebody moved the alias from outside, once that release is verified."""
    with _guard(model, store, output) as guard:
        record = guard.adopt(reason=reason)
    _emit_champion(record, output)


@app.command()
def restore(
    model: ModelOption = "worldloom",
    store: StoreOption = "",
    reason: ReasonOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Put the alias back to what the audit log says."""
    with _guard(model, store, output) as guard:
        record = guard.restore(reason=reason)
    _emit_champion(record, output)


@app.command()
def audit(
    model: ModelOption = "worldloom", store: StoreOption = "", output: OutputOption = Output.TABLE
) -> None:
    """Verify the audit log and print it; needs no server."""
    from services.registry.audit import AuditLog

    entries = AuditLog(_open(store), model).entries()
    rows = [
        {
            "entry": entry.index,
            "time": entry.time,
            "phase": entry.phase,
            "event": entry.move.event,
            "from": entry.move.from_version,
            "to": entry.move.to_version,
            "release": entry.move.to_release,
            "actor": entry.move.actor,
            "reason": entry.move.reason,
            "hash": entry.hash,
        }
        for entry in entries
    ]
    emit_rows(rows, output)
    say(f"{len(entries)} entries, each follows from the one before", output)


def _open(store: str) -> ArtifactStore:
    from worldloom.store import open_store

    return open_store(store_address(store))


@contextmanager
def _guard(model: str, store: str, output: Output) -> Iterator[Guard]:
    from components.tracking import open_client
    from services.registry.mlflow_models import MlflowModels
    from services.registry.promotion import Guard

    with _tracking_uri(output) as uri:
        models = MlflowModels(open_client(uri), model)
        yield Guard(store=_open(store), models=models, actor=getpass.getuser(), model=model)


@contextmanager
def _tracking_uri(output: Output) -> Iterator[str]:
    """Yield the server's address: the environment's, or the local one's."""
    from services.tracking_server import TrackingServer, running_server

    given = os.environ.get("MLFLOW_TRACKING_URI") or running_server(home())
    if given:
        yield given
        return
    say("starting MLflow for this command, which takes some seconds", output)
    with TrackingServer(home()) as server:
        yield server.uri


def _release_of(
    opened: ArtifactStore, model: str, version: str, store: str, output: Output
) -> tuple[str, str]:
    """Return a version's release and report: from the audit log, else from MLflow."""
    from services.registry.audit import AuditLog
    from worldloom.errors import PromotionError

    for entry in AuditLog(opened, model).entries():
        if entry.move.to_version == version and entry.move.event == "promotion":
            return entry.move.to_release, entry.move.report
    with _guard(model, store, output) as guard:
        found = guard.models.version(version)
    if found is None or not found.release:
        message = f"version {version!r} of {model} is no release of ours: worldloom registry list"
        raise PromotionError(message)
    return found.release, found.tags.get("report_digest", "")


def _made_by(opened: ArtifactStore, digest: str) -> dict[str, str]:
    from services.registry.lineage import ancestry

    maker = ancestry(opened, digest)[0]
    return {"step": maker.step, "run": maker.run, "commit": maker.commit[:12]}


def _emit_champion(record: ChampionRecord | None, output: Output) -> None:
    if record is None:
        say("there is no champion yet", output)
        emit_fields({"version": "", "release": ""}, output, next_command="worldloom pipeline run")
        return
    following = f"worldloom registry show {record.version}"
    emit_fields(record.model_dump(mode="json"), output, next_command=following)
