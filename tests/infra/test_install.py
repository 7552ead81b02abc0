"""The installer: what it refuses, when it does nothing, and the launcher that it writes.

A copy of it runs in a folder with a space in its name, with programs of our own in place of
`python3`; nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLER = Path("infra/environment/install.sh")
LOCK = "requirements/lock.txt"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINE_ERROR = 9


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the installer, the lists it reads and an empty command line."""
    folder = tmp_path / "a place" / "checkout"
    for name in (INSTALLER, Path(LOCK), Path("requirements/uv.txt")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def a_python(checkout: Path, version: str) -> Path:
    """Put a `python3` of a version on a path of its own; asked for more, it notes it and fails."""
    asked = checkout / "asked"
    text = f'case "$1" in -c) echo {version} ;; *) echo "$*" >> "{asked}"; exit 1 ;; esac'
    return program(checkout / "bin", "python3", text).parent


def an_installing_python(checkout: Path) -> Path:
    """Put a `python3` whose installations succeed and are only noted."""
    asked = checkout / "asked"
    uv = f"""
echo "$*" >> "{asked}"
case "$*" in
    *" uv venv "*) mkdir -p .venv/bin ;;
    *" sync "*) [ ! -e "{checkout}/no-index" ] ;;
esac
"""
    program(checkout / "made", "python", uv)
    text = f"""
case "$1" in
    -c) echo {VERSION} ;;
    *) echo "$*" >> "{asked}"; mkdir -p .boot/bin; cp "{checkout}/made/python" .boot/bin/ ;;
esac
"""
    return program(checkout / "bin", "python3", text).parent


def run(*command: str, folder: Path, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"{first}:{os.environ['PATH']}" if first else os.environ["PATH"]
    # These tests may themselves be started by make, whose variables an inner make would obey.
    plain = {name: v for name, v in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        command,
        cwd=folder,
        env=plain | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def stamp(checkout: Path) -> None:
    """Mark the environment as installed, as the installer does at its end."""
    script = (checkout / INSTALLER).read_text()
    [wanted] = re.findall(r'^wanted="(.*)"$', script, re.MULTILINE)
    told = run(
        "sh", "-c", f'version={VERSION} lock={LOCK}; printf "%s" "{wanted}"', folder=checkout
    )
    (checkout / ".venv").mkdir(exist_ok=True)
    (checkout / ".venv" / ".installed").write_text(told.stdout)


@pytest.mark.parametrize("version", ["3.10", "3.13", "2.7"])
def test_a_wrong_python_is_refused_in_one_sentence(checkout: Path, version: str) -> None:
    answer = run(str(checkout / INSTALLER), folder=checkout, first=a_python(checkout, version))
    assert answer.returncode == MACHINE_ERROR
    assert answer.stdout == ""
    [line] = answer.stderr.splitlines()
    assert line.startswith(f"error: python3 is Python {version}, expected 3.11 or 3.12")
    assert not (checkout / "asked").exists()
    assert not (checkout / ".venv").exists()


def test_a_python_that_does_not_run_is_refused_in_one_sentence(checkout: Path) -> None:
    broken = program(checkout / "bin", "python3", "exit 127")
    answer = run(str(checkout / INSTALLER), folder=checkout, first=broken.parent)
    assert answer.returncode == MACHINE_ERROR
    [line] = answer.stderr.splitlines()
    assert line == "error: python3 does not run, expected Python 3.11 or 3.12"


def test_make_shows_the_refusal_and_fails(checkout: Path) -> None:
    answer = run("make", "env", folder=checkout, first=a_python(checkout, "3.10"))
    assert answer.returncode
    assert "python3 is Python 3.10, expected 3.11 or 3.12" in answer.stderr


def test_a_missing_python_is_named(checkout: Path) -> None:
    answer = run(str(checkout / INSTALLER), "python-of-nowhere", folder=checkout)
    assert answer.returncode == MACHINE_ERROR
    [line] = answer.stderr.splitlines()
    assert line == "error: python-of-nowhere: not found, expected Python 3.11 or 3.12"


def test_an_installed_environment_is_left_alone(checkout: Path) -> None:
    stamp(checkout)
    started = time.monotonic()
    answer = run("make", "env", folder=checkout, first=a_python(checkout, VERSION))
    assert time.monotonic() - started < 2
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert not (checkout / "asked").exists()
    assert [path.name for path in (checkout / ".venv").iterdir()] == [".installed"]


def test_another_lock_or_place_is_installed_again(checkout: Path) -> None:
    stamp(checkout)
    with (checkout / LOCK).open("a") as lock:
        lock.write("# one more line\n")
    python = a_python(checkout, VERSION)
    answer = run(str(checkout / INSTALLER), folder=checkout, first=python)
    assert answer.returncode == MACHINE_ERROR
    assert (checkout / "asked").read_text().startswith("-m venv")
    shutil.copy(ROOT / LOCK, checkout / LOCK)
    stamp(checkout)
    moved = checkout.rename(checkout.parent / "moved")
    answer = run(str(moved / INSTALLER), folder=moved, first=moved / "bin")
    assert answer.returncode == MACHINE_ERROR, "an environment does not survive being moved"


def test_a_failed_installation_leaves_no_stamp(checkout: Path) -> None:
    answer = run(str(checkout / INSTALLER), folder=checkout, first=a_python(checkout, VERSION))
    assert answer.returncode == MACHINE_ERROR
    assert answer.stderr.splitlines()[-1].startswith("error: python3 -m venv failed")
    assert not (checkout / ".venv" / ".installed").exists()


def test_an_installation_is_done_once_and_in_order(checkout: Path) -> None:
    python = an_installing_python(checkout)
    answer = run("make", "env", folder=checkout, first=python)
    assert answer.returncode == 0, answer.stderr
    asked = (checkout / "asked").read_text().splitlines()
    assert asked == [
        "-m venv --clear .boot",
        "-m pip install --quiet --require-hashes -r requirements/uv.txt",
        f"-m uv venv --quiet --clear --python {python}/python3 .venv",
        f"-m uv pip sync --compile-bytecode --python .venv/bin/python --require-hashes {LOCK}",
    ]
    assert os.access(checkout / ".venv" / "bin" / "worldloom", os.X_OK)
    assert run("make", "env", folder=checkout, first=python).stderr == ""
    assert (checkout / "asked").read_text().splitlines() == asked


def test_another_lock_changes_the_environment_that_is_there(checkout: Path) -> None:
    stamp(checkout)
    with (checkout / LOCK).open("a") as lock:
        lock.write("# one more line\n")
    run("make", "env", folder=checkout, first=an_installing_python(checkout))
    assert "uv venv --quiet --allow-existing" in (checkout / "asked").read_text()


def test_a_change_that_was_cut_short_is_not_taken_for_the_old_state(checkout: Path) -> None:
    stamp(checkout)
    with (checkout / LOCK).open("a") as lock:
        lock.write("# one more line\n")
    (checkout / "no-index").touch()
    answer = run(str(checkout / INSTALLER), folder=checkout, first=an_installing_python(checkout))
    assert answer.returncode == MACHINE_ERROR
    assert answer.stderr.splitlines()[-1].startswith("error: the locked packages cannot be")
    assert not (checkout / ".venv" / ".installed").exists()


def test_the_launcher_runs_from_anywhere_in_a_path_with_spaces(checkout: Path) -> None:
    script = (checkout / INSTALLER).read_text()
    launcher = script.split("<<'LAUNCHER'\n")[1].split("LAUNCHER\n")[0]
    told = "import os, sys; print(os.getcwd(), sys.argv[1:])"
    (checkout / "cli").mkdir()
    (checkout / "cli" / "__init__.py").touch()
    (checkout / "cli" / "main.py").write_text(told)
    path = checkout / ".venv" / "bin" / "worldloom"
    program(path.parent, "python", f'exec "{sys.executable}" "$@"')
    path.write_text(launcher)
    path.chmod(0o755)
    elsewhere = checkout / "some where"
    elsewhere.mkdir()
    answer = run(str(path), "play", "--out", "my walk.mp4", folder=elsewhere)
    assert answer.stdout == f"{elsewhere} ['play', '--out', 'my walk.mp4']\n", answer.stderr


def test_every_locked_package_has_its_hash() -> None:
    for name in (LOCK, "requirements/uv.txt"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        packages = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert packages
        assert all("==" in line and "--hash=sha256:" in line for line in packages), name
