"""`worldloom serve`: a release on a real tritonserver, in the foreground until Ctrl-C."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_fields, say
from cli.pipeline_requests import home, store_address
from cli.termination import stop_on_terminate

if TYPE_CHECKING:
    from services.inference.server import InferenceServer

DEFAULT_PORT = 8001
_WATCH_SECONDS = 0.5

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def serve(
    release: Annotated[
        str, typer.Option(help="Digest or folder of a release; by default the champion.")
    ] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="gRPC port.")] = DEFAULT_PORT,
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
    """Serve a release on this machine until Ctrl-C."""
    from services.inference.engine import EngineConfig
    from services.inference.repository import RepositoryConfig
    from services.inference.server import ServerConfig, serve_release
    from services.processes import require_free_port
    from services.release_source import find_release
    from worldloom.store import open_store

    require_free_port(port, "the inference server")
    source = find_release(release, open_store(store_address(store)), model=model)
    say(f"loading {source.digest or source.folder}", output)
    stop_on_terminate()
    server = serve_release(
        source.folder,
        home() / "serve" / f"port-{port}",
        digest=source.digest,
        repository=RepositoryConfig(
            num_threads=threads,
            engine=EngineConfig(num_slots=slots),
        ),
        server=ServerConfig(port=port),
    )
    try:
        fields = {
            "address": server.address,
            "release": source.digest or str(source.folder),
            "version": source.version,
            "process": server.pid,
            "log": str(server.log_path),
        }
        following = f"worldloom play --address {server.address} --actions FILE --out walk.mp4"
        emit_fields(fields, output, next_command=following)
        say("Ctrl-C stops the server", output)
        _watch(server)
    except KeyboardInterrupt:
        say("stopping", output)
    finally:
        server.stop()


def _watch(server: InferenceServer) -> None:
    from worldloom.errors import ServingError

    never = threading.Event()
    while server.is_alive():
        never.wait(_WATCH_SECONDS)
    message = f"the inference server at {server.address} has died (log: {server.log_path})"
    raise ServingError(message)
