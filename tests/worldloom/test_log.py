"""One line of JSON an event, with its fields; only rank 0 speaks below a warning."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worldloom.log import JsonFormatter, RankZeroFilter, configure_logging, log_event


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test-of-the-log")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


@pytest.fixture
def lines(logger: logging.Logger) -> io.StringIO:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RankZeroFilter())
    logger.addHandler(handler)
    return stream


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ("worldloom", "components", "pipelines", "services", "cli")
    levels = {name: logging.getLogger(name).level for name in names}
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def read(lines: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_fields(logger, lines) -> None:
    log_event(logger, "segment_done", segment_index=3, text="two\nlines", folder=Path("out"))
    [line] = read(lines)
    time = line.pop("time")
    assert isinstance(time, str)
    assert len(time) == len("2026-01-02T03:04:05Z")
    assert line == {
        "level": "info",
        "logger": "test-of-the-log",
        "event": "segment_done",
        "segment_index": 3,
        "text": "two\nlines",
        "folder": "out",
    }


def test_a_percent_sign_in_an_event_is_only_that(logger, lines) -> None:
    log_event(logger, "100 % of %s", share=1.0)
    assert read(lines)[0]["event"] == "100 % of %s"


def test_the_level_is_kept(logger, lines) -> None:
    log_event(logger, "odd", logging.ERROR)
    log_event(logger, "hidden", logging.DEBUG)
    assert [line["level"] for line in read(lines)] == ["error"]


def test_an_exception_is_inside_the_line(logger, lines) -> None:
    try:
        {}["lost"]
    except KeyError:
        logger.exception("failed")
    [line] = read(lines)
    assert "KeyError: 'lost'" in str(line["exception"])


@pytest.mark.parametrize(
    ("rank", "heard"), [(None, ["said", "warned"]), ("0", ["said", "warned"]), ("3", ["warned"])]
)
def test_only_rank_zero_speaks_below_a_warning(logger, lines, monkeypatch, rank, heard) -> None:
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)
    log_event(logger, "said")
    log_event(logger, "warned", logging.WARNING)
    assert [line["event"] for line in read(lines)] == heard


def test_configured_lines_go_to_standard_error_once(root_logger, monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging()
    configure_logging()
    log_event(logging.getLogger("worldloom.somewhere"), "ours")
    logging.getLogger("another.library").info("not ours")
    assert [line["event"] for line in read(stream)] == ["ours"]
