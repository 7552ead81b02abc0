"""`worldloom up`: what is wrong is one sentence; a new champion is served beside the old one."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli import up
from cli.main import run_command
from cli.output import Output
from services.processes import LOOPBACK, free_port
from services.release_source import ReleaseSource
from worldloom.errors import ServingError

OLD, NEW = (ReleaseSource(Path(name), f"sha256:{name}", name) for name in "12")


@dataclass
class FakeService:
    """Counts looks; is told which release to serve."""

    stop_after: int
    fails: bool = False
    replaced_by: list[str] = field(default_factory=list)
    num_looks: int = 0

    def watch(self) -> None:
        self.num_looks += 1
        if self.num_looks > self.stop_after:
            raise KeyboardInterrupt

    def replace(self, source: ReleaseSource) -> None:
        self.replaced_by.append(source.version)
        if self.fails:
            message = "it has no weights"
            raise ServingError(message)


@dataclass
class Champions:
    """Names the champion of each time that it is asked."""

    sources: list[ReleaseSource]
    may_change: bool = True

    def find(self) -> ReleaseSource:
        return self.sources.pop(0) if len(self.sources) > 1 else self.sources[0]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(up, "_CHAMPION_SECONDS", 0.0)


def follow(service: FakeService, champions: Champions) -> None:
    with pytest.raises(KeyboardInterrupt):
        up._watch(service, champions, OLD, Output.TABLE)


def test_a_new_champion_takes_over_once() -> None:
    service = FakeService(stop_after=6)
    follow(service, Champions([OLD, OLD, NEW, NEW]))
    assert service.replaced_by == ["2"]


def test_a_champion_that_does_not_come_up_is_told_and_not_tried_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = FakeService(stop_after=5, fails=True)
    follow(service, Champions([NEW]))
    assert service.replaced_by == ["2"]
    assert "does not come up, so the old one is served on: it has no" in capsys.readouterr().out


def test_a_release_that_was_named_stays() -> None:
    service = FakeService(stop_after=4)
    follow(service, Champions([NEW], may_change=False))
    assert service.replaced_by == []


def test_no_champion_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLDLOOM_HOME", str(tmp_path))
    assert run_command(["up", "--port", str(free_port()), "--store", str(tmp_path / "s")]) == 8
    assert "has no champion yet: worldloom pipeline run makes one" in capsys.readouterr().err
    assert not (tmp_path / "up").exists()


def test_a_taken_port_is_told_before_a_release_is_looked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run_command(["up", "--port", str(port)]) == 9
    assert f"port {port} on 127.0.0.1 is already taken" in capsys.readouterr().err
