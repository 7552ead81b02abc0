"""`worldloom up`: the whole service on this machine at one address, until Ctrl-C.

It chooses the release and follows the champion; `services.local` does the rest.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, say
from cli.pipeline_requests import home, store_address
from cli.termination import stop_on_terminate

if TYPE_CHECKING:
    from services.local.service import LocalService
    from services.release_source import ReleaseSource

_WATCH_SECONDS = 0.5
_CHAMPION_SECONDS = 5.0

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def up(
    release: Annotated[
        str,
        typer.Option(
            help="Digest or folder of a release, or `starter` for one of the starter weights; by "
            "default the champion, and whichever follows it."
        ),
    ] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the one address.")] = 8080,
    slots: Annotated[int, typer.Option(min=1, help="Sessions at once.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the model.")] = 1,
    model: Annotated[str, typer.Option(help="Registered model whose champion to serve.")] = (
        "worldloom"
    ),
    store: Annotated[
        str, typer.Option(help="Artifact store; by default WORLDLOOM_STORE or <home>/store.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Serve a release, with gateway and viewer, on this machine until Ctrl-C."""
    from services.inference.engine_config import EngineConfig
    from services.inference.repository import RepositoryConfig
    from services.local.service import LocalConfig, LocalService
    from services.processes import require_free_port

    started = time.monotonic()
    require_free_port(port, "the gateway")
    choice = _Choice(release, model, store)
    source = choice.find()
    repository = RepositoryConfig(num_threads=threads, engine=EngineConfig(num_slots=slots))
    config = LocalConfig(port=port, repository=repository)
    service = LocalService(home() / "up", config, lambda text: say(text, output))
    stop_on_terminate()
    try:
        say(f"starting the gateway (log: {service.gateway.log_path})", output)
        service.start(source)
        fields = {
            "address": service.url,
            "release": source.digest or str(source.folder),
            "version": source.version,
            "ready_seconds": round(time.monotonic() - started, 1),
            "gateway_log": str(service.gateway.log_path),
            "engine_log": str(service.current.server.log_path),
        }
        emit_fields(fields, output, next_command=f"open {service.url} in a browser")
        say("Ctrl-C stops everything; sessions are kept", output)
        _watch(service, choice, source, output)
    except KeyboardInterrupt:
        say("stopping; sessions are being stored", output)
    finally:
        service.stop()


@dataclass(frozen=True)
class _Choice:
    """Which release to serve, as it was asked for."""

    release: str
    model: str
    store: str

    @property
    def may_change(self) -> bool:
        """Tell whether another release may become the one to serve."""
        return not self.release

    def find(self) -> ReleaseSource:
        """Return the release; raises `ServingError` when there is none."""
        from services.release_source import choose_release
        from worldloom.store import open_store

        return choose_release(
            self.release, lambda: open_store(store_address(self.store)), home(), model=self.model
        )


def _watch(service: LocalService, choice: _Choice, source: ReleaseSource, output: Output) -> None:
    """Keep the service running and hand it to a new champion; never returns."""
    from worldloom.errors import WorldloomError

    never = threading.Event()
    asked_at = time.monotonic()
    while True:
        never.wait(_WATCH_SECONDS)
        service.watch()
        if not choice.may_change or time.monotonic() - asked_at < _CHAMPION_SECONDS:
            continue
        asked_at = time.monotonic()
        champion = choice.find()
        if champion.digest == source.digest:
            continue
        source = champion
        say(f"version {champion.version} is the new champion", output)
        try:
            service.replace(champion)
        except WorldloomError as error:
            say(f"it does not come up, so the old one is served on: {error}", output)
