"""`worldloom doctor`: look at everything a run needs and say how to mend what is missing.

Thin: the checks are in `cli.checks`. It exits with 9 when something that is needed fails.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Output, OutputOption, emit_rows
from cli.pipeline_requests import home, store_address

if TYPE_CHECKING:
    from cli.checks.check import Examination

app = typer.Typer(
    help="Check this machine, and say how to mend what is missing.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

PortOption = Annotated[
    list[int] | None, typer.Option("--port", help="Port that a server will use; may be repeated.")
]
NeedClusterOption = Annotated[
    bool, typer.Option("--cluster", help="Fail where no cluster is configured.")
]
NamespaceOption = Annotated[str, typer.Option(help="Namespace of the platform in the cluster.")]
ContextOption = Annotated[str, typer.Option(help="Context of the cluster's configuration.")]
StoreOption = Annotated[
    str, typer.Option(help="Artifact store; by default WORLDLOOM_STORE or <home>/store.")
]


@app.callback(invoke_without_command=True)
def doctor(
    port: PortOption = None,
    cluster: NeedClusterOption = False,
    namespace: NamespaceOption = "worldloom",
    context: ContextOption = "",
    store: StoreOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Check machine, ports, store, tracking, serving and cluster; exit with 9 if one fails."""
    from cli.checks.check import State, examine
    from worldloom.errors import MachineError

    checks = list(
        examine(
            [
                *_local(port or [], store_address(store)),
                ("cluster", _cluster(namespace, context, needed=cluster)),
            ]
        )
    )
    failed = sum(check.state is State.FAIL for check in checks)
    rows = [
        {
            "check": check.name,
            "state": check.state.value,
            "found": check.found,
            "mend": check.mend,
        }
        for check in checks
    ]
    emit_rows(rows, output, next_command="" if failed else "worldloom demo")
    if failed:
        names = ", ".join(check.name for check in checks if check.state is State.FAIL)
        message = f"{failed} of {len(checks)} checks failed ({names}), see how to mend them above"
        raise MachineError(message)


def _local(ports: list[int], store: str) -> list[tuple[str, Examination]]:
    from cli.checks import machine, parts

    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return [
        ("python", machine.check_python),
        ("cores", machine.check_cores),
        ("memory", machine.check_memory),
        ("disk", lambda: machine.check_disk(home())),
        ("accelerator", machine.check_accelerator),
        ("ports", lambda: machine.check_ports(ports)),
        ("store", lambda: parts.check_store(store)),
        ("tracking", lambda: parts.check_tracking(home(), tracking_uri)),
        ("serving", parts.check_serving),
        ("vizdoom", parts.check_vizdoom),
        ("chromium", parts.check_chromium),
        ("captions", parts.check_captions),
    ]


def _cluster(namespace: str, context: str, *, needed: bool) -> Examination:
    from cli.checks.cluster import check_cluster

    return lambda: check_cluster(namespace=namespace, context=context, needed=needed)
