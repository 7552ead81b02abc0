"""The doctor's exit code, form and speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import run_command


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDLOOM_HOME", str(tmp_path / "a home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WORLDLOOM_STORE", "MLFLOW_TRACKING_URI", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_json_goes_to_standard_output_with_a_row_per_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run_command(["doctor", "--output", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert {"python", "store", "tracking server", "tritonserver", "cluster"} <= {
        row["check"] for row in rows
    }
    assert code == (9 if any(row["state"] == "fail" for row in rows) else 0)
    assert all(row["mend"] for row in rows if row["state"] != "ok")


def test_something_needed_that_is_missing_exits_with_9(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--cluster"]) == 9
    assert "checks failed (" in capsys.readouterr().err


@pytest.mark.slow
def test_neither_torch_nor_mlflow_nor_a_cluster_client_is_imported() -> None:
    code = (
        "import sys\n"
        "from cli.main import run_command\n"
        "run_command(['doctor'])\n"
        "assert not {'torch', 'mlflow', 'kfp', 'kubernetes', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=dict(os.environ))
