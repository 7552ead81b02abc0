"""How a pod goes: what it does before Triton is told to stop, since after that no session plays on.

`python -m services.inference.departure --leave-seconds 5 --drain-seconds 3600` runs beside Triton.
First the pod leaves the services that lead to it, then its sessions get their time; those that are
left are stored and handed over by the engine, so that another pod can go on with them. It reads
Triton's own metrics and knows no session.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from services.inference.drain import DRAIN_VARIABLE, ask_to_drain
from worldloom.log import configure_logging, log_event

logger = logging.getLogger("services.inference.departure")  # also when run as a program

METRICS_ADDRESS = "http://127.0.0.1:8002/metrics"
# Sessions that have a slot, and those that wait in this pod's memory for their player.
WAITED_FOR = ("worldloom_engine_sessions", "worldloom_engine_parked_sessions")
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 1.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Wait for the sessions of this pod.")
    parser.add_argument("--leave-seconds", type=float, default=5.0, help="wait before looking")
    parser.add_argument("--drain-seconds", type=float, default=3600.0, help="longest wait")
    parser.add_argument("--handover-seconds", type=float, default=30.0, help="to store the rest")
    parser.add_argument("--metrics", default=METRICS_ADDRESS, help="address of Triton's metrics")
    return parser.parse_args(arguments)


def num_sessions(metrics: str) -> int | None:
    """Return how many sessions a text of metrics tells of, None when it tells of none at all."""
    found = [
        float(value)
        for name in WAITED_FOR
        for value in re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)", metrics, re.MULTILINE)
    ]
    return int(sum(found)) if found else None


def wait_until_empty(address: str, seconds: float, poll_seconds: float) -> int | None:
    """Return how many sessions are left when there are none, the time is over or Triton is gone.

    As long as Triton answers without saying how many there are, there may be some. None must be
    seen twice, since a session that has just come is counted a moment later.
    """
    deadline = time.monotonic() + seconds
    told: int | None = 0
    was_empty = False
    while True:
        try:
            with urllib.request.urlopen(address, timeout=_ANSWER_SECONDS) as answer:
                left = num_sessions(answer.read().decode())
        except (urllib.error.URLError, TimeoutError) as error:
            log_event(logger, "departure_without_server", logging.WARNING, message=str(error))
            return 0
        if (left == 0 and was_empty) or time.monotonic() >= deadline:
            return left
        was_empty = left == 0
        if left not in {told, 0}:
            log_event(logger, "departure_waits", sessions=left)
        told = left
        time.sleep(poll_seconds)


def main(arguments: Sequence[str]) -> int:
    """Wait; whatever is left when the time is over, Triton may be stopped."""
    given = parse(arguments)
    configure_logging()
    time.sleep(given.leave_seconds)
    left = wait_until_empty(given.metrics, given.drain_seconds, _POLL_SECONDS)
    sign = os.environ.get(DRAIN_VARIABLE, "")
    if left != 0 and sign:
        log_event(logger, "handover_begun", sessions=left)
        ask_to_drain(Path(sign), given.handover_seconds)
        left = wait_until_empty(given.metrics, given.handover_seconds, _POLL_SECONDS)
    log_event(logger, "departure_over", sessions=left)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
