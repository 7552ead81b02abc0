"""Logging for every process of the project: one line of JSON an event, on standard error.

`log_event(logger, "segment_done", segment_index=3)` is the form: an event name and fields, no
numbers inside prose. It does not know where lines go after standard error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

_FIELDS_KEY = "worldloom_fields"


class JsonFormatter(logging.Formatter):
    """Render a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's JSON line."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= record.__dict__.get(_FIELDS_KEY, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class RankZeroFilter(logging.Filter):
    """Let only rank 0 of a distributed job speak below the level of a warning."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is to be written."""
        return record.levelno >= logging.WARNING or os.environ.get("RANK", "0") == "0"


def configure_logging(level: int = logging.INFO) -> None:
    """Send the project's log lines to standard error as JSON; call once a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RankZeroFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("worldloom", "components", "pipelines", "services", "cli"):
        logging.getLogger(name).setLevel(level)


def log_event(
    logger: logging.Logger, event: str, level: int = logging.INFO, **fields: object
) -> None:
    """Write one event with its fields."""
    logger.log(level, "%s", event, extra={_FIELDS_KEY: fields})
