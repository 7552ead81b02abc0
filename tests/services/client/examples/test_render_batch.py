"""The batch renders what is not there yet, and goes on after a crash; run on the wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, frame_data

from services import protocol
from services.contract import ErrorCode

EXAMPLE = Path(__file__).parents[4] / "services" / "client" / "examples" / "render_batch.py"
RUN = f"sys.argv[0] = 'render_batch.py'\nrunpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
NUM_FILES = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "actions").mkdir()
    for index in range(NUM_FILES):
        actions = {"keyboard": [[0] * 6] * 5, "mouse": [[0, index]] * 5}
        (tmp_path / "actions" / f"{index:04}.json").write_text(json.dumps(actions))
    return tmp_path


def frames_of(index: int) -> bytes:
    row = [0.0] * 7 + [float(index)]
    return frame_data(0, None) + b"".join(frame_data(k, row) for k in range(1, 6))


def test_every_file_is_rendered_over_breaking_connections(run_client, folder: Path) -> None:
    with FakeGateway(drop_at={3, 4}).serve_on_thread() as gateway:
        done = run_client(RUN, gateway.url, str(folder / "actions"), str(folder / "frames"))
    assert done.returncode == 0, done.stderr
    for index in range(NUM_FILES):
        assert (folder / "frames" / f"{index:04}.mjpeg").read_bytes() == frames_of(index)
    assert not list((folder / "frames").glob("*.partial"))
    assert gateway.most_at_once <= 4


def test_what_was_rendered_before_is_not_rendered_again(run_client, folder: Path) -> None:
    (folder / "frames").mkdir()
    for index in range(NUM_FILES - 2):
        (folder / "frames" / f"{index:04}.mjpeg").write_bytes(b"done")
    (folder / "frames" / f"{NUM_FILES - 1:04}.partial").write_bytes(b"a crash left this")
    with FakeGateway().serve_on_thread() as gateway:
        done = run_client(RUN, gateway.url, str(folder / "actions"), str(folder / "frames"))
    assert done.returncode == 0, done.stderr
    assert f"{NUM_FILES} files, {NUM_FILES - 2} of them rendered before" in done.stdout
    assert len(gateway.of_type(protocol.Open)) == 2
    assert (folder / "frames" / "0000.mjpeg").read_bytes() == b"done"
    last = folder / "frames" / f"{NUM_FILES - 1:04}.mjpeg"
    assert last.read_bytes() == frames_of(NUM_FILES - 1)


def test_a_refusal_and_a_broken_file_are_told_at_the_end(run_client, folder: Path) -> None:
    (folder / "actions" / "0000.json").write_text("{}")
    gateway = FakeGateway(refuse_open=ErrorCode.CONTENT_REFUSED)
    with gateway.serve_on_thread():
        done = run_client(RUN, gateway.url, str(folder / "actions"), str(folder / "frames"))
    assert done.returncode == 1
    told = done.stderr.strip().splitlines()
    assert len(told) == NUM_FILES
    assert any("0000.json: 'keyboard'" in line for line in told)
    assert any("refused as the test wants it" in line for line in told)
