"""The drill with malformed messages and requests: a gateway refuses them in its own words.

Gateway and fake engine, since what is judged is how input is taken in. A share of what is sent are
HTTP requests. It does not know how input is damaged.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.gateway.settings import GatewayConfig
from services.load.drills.stage import DrillConfig, Report
from services.load.fuzz import FuzzConfig, FuzzResult, fuzz_gateway
from services.local.gateway_process import GatewayProcess
from services.processes import free_port
from worldloom.bench.record import Bar
from worldloom.errors import ServingError

_ONE_REQUEST_IN = 10  # of what is sent


def malformed_input(config: DrillConfig, state: Path, report: Report) -> tuple[Bar, ...]:
    """Send malformed input beside one ordinary player and judge what came of it.

    Raises:
        ServingError: naming the first fault, since its words are what helps.
    """
    num_requests = config.num_messages // _ONE_REQUEST_IN
    fuzz = FuzzConfig(
        num_messages=max(1, config.num_messages - num_requests),
        num_requests=num_requests,
        seed=config.seed,
    )
    settings = GatewayConfig(port=free_port(), auth="none", drain_seconds=0.0)
    with GatewayProcess(state, settings, fake=()) as gateway:
        result = asyncio.run(
            fuzz_gateway(gateway.url, fuzz, lambda done: report(done, config.num_messages))
        )
        if not gateway.is_alive():
            message = f"the gateway died of malformed input (log: {gateway.log_path})"
            raise ServingError(message)
    if result.faults:
        message = f"{len(result.faults)} faults, the first: {result.faults[0]}"
        raise ServingError(message)
    return _bars(result)


def _bars(result: FuzzResult) -> tuple[Bar, ...]:
    return (
        Bar(
            name="malformed: messages and requests sent",
            value=result.num_messages + result.num_requests,
            limit=1,
            sense="at least",
        ),
        Bar(
            name="malformed: crashes, hangs, inner words shown, frames of the witness wrong",
            value=len(result.faults),
            limit=0,
            sense="at most",
        ),
        Bar(
            name="malformed: frames of the witness beside",
            value=result.num_witness_frames,
            limit=1,
            sense="at least",
        ),
    )
