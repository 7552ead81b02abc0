"""What a GPU machine without a network is brought: what is packed, left out, refused.

A copy of the script runs beside a `pip` of our own; nothing is downloaded.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path("infra/environment/gpu_bundle.sh")
MACHINE_ERROR = 9
# What stands in for `pip install --target FOLDER ...`: an engine, a map of each kind, a scenario.
PIP = """#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/vizdoom/scenarios" "$2/pydantic"
touch "$2/pydantic/__init__.py" "$2/vizdoom/freedoom1.wad" "$2/vizdoom/freedoom2.wad"
touch "$2/vizdoom/scenarios/basic.wad" "$2/vizdoom/vizdoom"
echo "$*" >asked
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the script, a lock, and an environment that has DeepSpeed."""
    for path, text in {
        ".boot/bin/python": PIP + 'chmod +x "$2/vizdoom/vizdoom"\n',
        ".venv/.installed": "",
        ".venv/lib/python3.11/site-packages/deepspeed/__init__.py": "",
        ".venv/lib/python3.11/site-packages/deepspeed/__pycache__/a.pyc": "",
        "requirements/lock.txt": "pydantic==2.0 ; x\n    --hash=a\nvizdoom==1.3\nkfp==2.1\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / ".boot/bin/python").chmod(0o755)
    (tmp_path / SCRIPT).parent.mkdir(parents=True)
    shutil.copy(ROOT / SCRIPT, tmp_path / SCRIPT)
    return tmp_path


def packed(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_packages_are_packed_without_what_nothing_walks(checkout: Path) -> None:
    found = packed(checkout)
    assert found.returncode == 0, found.stderr
    with tarfile.open(checkout / "out/gpu-bundle.tar.xz") as file:
        members = {member.name: member for member in file}
    files = {name for name, member in members.items() if member.isfile()}
    assert files == {
        "./deepspeed/__init__.py", "./pydantic/__init__.py", "./vizdoom/freedoom2.wad",
        "./vizdoom/vizdoom",
    }  # fmt: skip
    assert members["./vizdoom/scenarios"].isdir()
    assert members["./vizdoom/vizdoom"].mode & 0o111
    asked = (checkout / "asked").read_text()
    assert "--python-version 3.12" in asked
    assert "pydantic==2.0 vizdoom==1.3" in asked
    assert "kfp" not in asked


def test_an_engine_that_cannot_be_run_is_refused_and_nothing_is_written(checkout: Path) -> None:
    (checkout / ".boot/bin/python").write_text(PIP)
    found = packed(checkout)
    assert found.returncode == MACHINE_ERROR
    assert "its engine is not executable" in found.stderr
    assert not (checkout / "out").exists()


@pytest.mark.parametrize(
    ("version", "is_installed", "told"),
    [("3.9", True, "Python 3.9: expected 3.11 or 3.12"), ("3.12", False, "expected 'make env'")],
)
def test_what_is_missing_is_told(
    checkout: Path, version: str, is_installed: bool, told: str
) -> None:
    if not is_installed:
        (checkout / ".venv/.installed").unlink()
    found = packed(checkout, version)
    assert found.returncode == MACHINE_ERROR
    assert told in found.stderr
