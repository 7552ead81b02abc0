"""The code digest: which sources an entry module reaches, and what changes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components import code_digest as subject
from components.code_digest import code_digest, code_files, digest_of_files

SOURCES = {
    "toyroot/__init__.py": "",
    "toyroot/entry.py": (
        "import json\n"
        "import toyroot.direct\n"
        "from toyroot import sibling\n"
        "from toyroot.names import something\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from toyroot import only_types\n"
        "else:\n"
        "    import toyroot.other_branch\n"
        "def run():\n"
        "    from .inside import lazy\n"
        "    import importlib\n"
        "    importlib.import_module('toyroot.by_name')\n"
    ),
    "toyroot/direct.py": "import toyroot.entry\n",
    "toyroot/sibling.py": "",
    "toyroot/names.py": "something = 1\n",
    "toyroot/only_types.py": "",
    "toyroot/other_branch.py": "",
    "toyroot/by_name.py": "",
    "toyroot/inside/__init__.py": "from . import part\nfrom ..deep.down import bottom\n",
    "toyroot/inside/lazy.py": "",
    "toyroot/inside/part.py": "",
    "toyroot/deep/__init__.py": "",
    "toyroot/deep/down/__init__.py": "",
    "toyroot/deep/down/bottom.py": "",
    "toyroot/unrelated.py": "raise RuntimeError\n",
    "toyroot/second_entry.py": "import toyroot.unrelated\n",
}
NOT_REACHED = {"toyroot/only_types.py", "toyroot/unrelated.py", "toyroot/second_entry.py"}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(subject, "PROJECT_PACKAGES", ("toyroot",))
    return tmp_path


@pytest.mark.usefixtures("sources")
def test_every_source_that_can_run_is_reached_and_no_other() -> None:
    assert set(code_files("toyroot.entry")) == set(SOURCES) - NOT_REACHED
    assert set(code_files("toyroot.second_entry")) == {
        "toyroot/__init__.py",
        "toyroot/second_entry.py",
        "toyroot/unrelated.py",
    }


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_one_byte_changes_the_digest_of_those_that_reach_it_only(sources: Path, name: str) -> None:
    before = code_digest("toyroot.entry"), code_digest("toyroot.second_entry")
    reached = name in code_files("toyroot.entry"), name in code_files("toyroot.second_entry")
    (sources / name).write_text(SOURCES[name] + "#")
    after = code_digest("toyroot.entry"), code_digest("toyroot.second_entry")
    assert tuple(old != new for old, new in zip(before, after, strict=True)) == reached


def test_moving_code_to_another_file_changes_the_digest(sources: Path) -> None:
    before = code_digest("toyroot.second_entry")
    (sources / "toyroot" / "unrelated.py").rename(sources / "toyroot" / "moved.py")
    (sources / "toyroot" / "second_entry.py").write_text("import toyroot.moved\n")
    assert code_digest("toyroot.second_entry") != before


@pytest.mark.usefixtures("sources")
def test_digest_is_that_of_the_files() -> None:
    assert code_digest("toyroot.entry") == digest_of_files(code_files("toyroot.entry"))


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize("module", ["json", "toyroot.absent", "absent"])
def test_entry_outside_the_project_is_refused(module: str) -> None:
    with pytest.raises(ValueError, match="no source of toyroot"):
        code_files(module)


def test_closure_of_the_runtime_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from components.code_digest import code_files\n"
        "files = code_files('components.runtime')\n"
        "assert 'worldloom/store/s3.py' in files, files\n"
        "assert 'worldloom/train/tracking.py' in files, files\n"
        "heavy = {'torch', 'kfp', 'mlflow', 'minio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
