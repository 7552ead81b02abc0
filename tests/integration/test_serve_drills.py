"""The drills, small, on a real gateway and a real Triton with a fake release.

One service is used for several drills: each begins and ends with it whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.inference.repository import RepositoryConfig, build_repository
from services.load.drills.churn import churn
from services.load.drills.interruption import kill_gateway, kill_triton, stop_triton
from services.load.drills.malformed_input import malformed_input
from services.load.drills.replacement import replace
from services.load.drills.stage import DrillConfig, Stage, nothing_to_report, stage
from services.release_source import ReleaseSource
from worldloom.bench.record import Bar

FAKE_MODEL = """
from services.inference.fake_generator import FakeRelease
from services.inference.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    def open_release(self, folder, num_threads):
        return FakeRelease(seconds_per_segment=0.03)
"""
CONFIG = DrillConfig(num_sessions=2, num_frames=240, num_cycles=60, num_replacements=2)


def lay_out_fake(folder: Path, source: ReleaseSource, config: RepositoryConfig) -> Path:
    repository = build_repository(folder, source.folder, config)
    (repository / "world" / "1" / "model.py").write_text(FAKE_MODEL)
    return repository


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    release = folder / "release"
    release.mkdir()
    sources = [ReleaseSource(release, version="1"), ReleaseSource(release, version="2")]
    with stage(
        folder / "state", sources, CONFIG, print, nothing_to_report, lay_out=lay_out_fake
    ) as running:
        yield running


def missed(bars: Sequence[Bar], *, but: str = "no bar") -> list[str]:
    return [bar.sentence for bar in bars if not bar.is_met and but not in bar.name]


@pytest.mark.parametrize("drill", [kill_triton, kill_gateway, stop_triton])
def test_sessions_outlive_what_is_taken_away(place: Stage, drill) -> None:
    # How fast a busy machine restarts is judged by the command.
    assert missed(drill(place), but="longest from the restart") == []


def test_versions_are_replaced_without_a_session_noticing(place: Stage) -> None:
    assert missed(replace(place), but="in the middle of which") == []
    assert [served.source.version for served in place.service.servers] == ["1"]


def test_sessions_that_come_and_go_in_every_way_leave_no_slot_and_no_handle(place: Stage) -> None:
    # Sixty sessions are too few to tell growth from warming up.
    assert missed(churn(place), but="memory") == []


def test_malformed_input_disturbs_nobody(tmp_path: Path) -> None:
    config = DrillConfig(num_messages=300)
    assert missed(malformed_input(config, tmp_path, nothing_to_report)) == []
