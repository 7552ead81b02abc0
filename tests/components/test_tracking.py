"""Tracking without a server: nothing is tracked, or one sentence at once."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.tracking import MAX_FILE_BYTES, MlflowTracker, require_answer, step_run
from services.processes import free_port
from worldloom.errors import TrackingError
from worldloom.train.tracking import NullTracker


def test_without_an_address_nothing_is_tracked_and_mlflow_is_not_imported() -> None:
    code = (
        "import sys\n"
        "from components.tracking import step_run\n"
        "with step_run('s', key='k', parents={}, env={}) as run:\n"
        "    run.tracker.log_params({'a': 1})\n"
        "    run.record_outputs({'x': 'y'})\n"
        "    assert run.run_id == ''\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_untracked_run_has_a_null_tracker() -> None:
    with step_run("s", key="k", parents={}, env={}) as run:
        assert isinstance(run.tracker, NullTracker)


def test_a_dead_server_is_one_sentence_at_once() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    with (
        pytest.raises(TrackingError, match=f"tracking server at {uri} does not answer"),
        step_run("s", key="k", parents={}, env={"MLFLOW_TRACKING_URI": uri}),
    ):
        pass
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_a_server_that_accepts_and_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(TrackingError, match="does not answer"):
            require_answer(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - started < 10


def test_an_address_that_is_no_server_is_refused() -> None:
    with pytest.raises(TrackingError, match="expected http"):
        require_answer("sqlite:///mlflow.db")


def test_a_large_file_is_sent_to_the_store_instead(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    tracker = MlflowTracker(client=None, run_id="r")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="large files go to the artifact store"):
        tracker.log_file(path, "")
