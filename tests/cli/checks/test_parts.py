"""Parts that are missing, damaged or unfit are told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.checks.check import Check, State, examine
from cli.checks.parts import check_captions, check_serving, check_store, check_tracking
from services.processes import free_port
from worldloom.errors import MachineError


def test_a_store_that_works_is_timed_and_can_be_checked_again(tmp_path: Path) -> None:
    for _ in range(2):
        [check] = check_store(str(tmp_path / "store"))
        assert check.state is State.OK


def test_a_store_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    [check] = check_store(str(tmp_path / "file" / "store"))
    assert check.state is State.FAIL
    assert "WORLDLOOM_STORE" in check.mend


def test_a_damaged_database_fails(tmp_path: Path) -> None:
    assert {check.state for check in check_tracking(tmp_path, "")} == {State.OK}
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"no database" * 100)
    assert check_tracking(tmp_path, "")[0].state is State.FAIL


def test_a_server_that_was_named_and_is_dead_fails(tmp_path: Path) -> None:
    check = check_tracking(tmp_path, f"http://127.0.0.1:{free_port()}")[1]
    assert check.state is State.FAIL
    assert "does not answer" in check.found


def test_serving_fails_with_numpy_2_and_without_the_wheel() -> None:
    def missing() -> Path:
        message = "nvidia-pytriton is not installed"
        raise MachineError(message)

    checks = check_serving(missing, "2.1.0")
    assert [check.state for check in checks] == [State.FAIL, State.FAIL]
    assert "numpy<2" in checks[1].mend
    assert {check.state for check in check_serving()} == {State.OK}


def test_captions_name_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    [check] = check_captions()
    assert check == Check("vLLM (optional)", State.OK, "prompts by http://127.0.0.1:8000/v1")


def test_an_examination_that_breaks_is_a_failed_check_and_the_rest_goes_on() -> None:
    def broken() -> list[Check]:
        message = "no such thing"
        raise MachineError(message)

    checks = list(examine([("first", broken), ("second", lambda: check_captions())]))
    assert (checks[0].name, checks[0].state, checks[0].found) == (
        "first",
        State.FAIL,
        "no such thing",
    )
    assert len(checks) == 2
