import io
import sys

from cli import progress as module
from cli.progress import progress


def test_without_a_terminal_a_line_is_told_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("frames") as report:
        report(1, 100)
        now[0] = 11.0
        report(50, 100)
        report(51, 100)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "frames: 50 of 100\n"


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress("frames") as report:
        report(50, 100)
    assert "frames" in screen.getvalue()
