"""The shape of the repository: its folders, the names of its modules, and what may not be in it."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("worldloom", "components", "pipelines", "services", "cli")
FIXED_FOLDERS = {*PACKAGES, "helm", "infra", "tests", "docs"}
BANNED_NAMES = {"utils", "util", "common", "base", "manager", "helpers", "helper", "misc", "core"}
TEXT_SUFFIXES = {
    "", ".cfg", ".in", ".json", ".md", ".pbtxt", ".py", ".sh", ".svg", ".toml", ".tpl", ".txt",
    ".yaml",
}  # fmt: skip
WEIGHTS_AND_DATA = {
    ".arrow", ".bin", ".jpg", ".mp4", ".npy", ".npz", ".parquet", ".png", ".safetensors", ".wad",
}  # fmt: skip
OF_A_WHOLE_PACKAGE = {
    "test_imports.py", "test_open_store.py", "test_reference_loop.py", "test_shapes.py",
    "test_wan_vae_parity.py", "test_world_model_ir.py",
}  # fmt: skip
MOST_BYTES_OF_WEIGHTS = 20_000_000
MOST_BYTES_OF_PICTURES = 10 << 20
MOST_BYTES_IN_A_FILE = 12 << 20
MOST_LINES = 500
# Written in two halves, so that this file does not hold what it looks for.
REGISTRIES = tuple(
    "".join(halves)
    for halves in [
        ("pypi", ".org"),
        ("pythonhosted", ".org"),
        ("npmjs", ".org"),
        ("docker", ".io"),
        ("ghcr", ".io"),
        ("quay", ".io"),
        ("nvcr", ".io"),
        ("gcr", ".io"),
        ("registry.k8s", ".io"),
        ("proxy.golang", ".org"),
    ]
)
MACHINE_PATHS = re.compile(
    "(?<![A-Za-z0-9_.])/(?:" + "|".join(["wor" + "k", "roo" + "t", "hom" + "e"]) + ")/"
)


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout, so there is no list of tracked files")
    paths = [Path(name) for name in listed.stdout.split("\0") if name]
    return [path for path in paths if (ROOT / path).is_file()]


def sources(tracked: list[Path]) -> list[Path]:
    return [path for path in tracked if path.suffix == ".py" and path.parts[0] in PACKAGES]


def test_the_folders_are_there() -> None:
    for name in FIXED_FOLDERS:
        assert (ROOT / name).is_dir(), name


def test_no_module_is_named_for_being_shared(tracked) -> None:
    for path in sources(tracked):
        named = {path.stem, *path.parts[:-1]} & BANNED_NAMES
        assert not named, path


def test_the_readmes_tree_is_the_repositorys(tracked) -> None:
    readme = (ROOT / "README.md").read_text()
    [tree] = re.findall(r"<!-- tree -->\n+```\n(.*?)```\n+<!-- end of tree -->", readme, re.DOTALL)
    shown = {line.split()[0] for line in tree.splitlines()}
    assert all(len(line.split()) > 2 for line in tree.splitlines()), "each with its purpose"
    there = {f"{path.parts[0]}/" if len(path.parts) > 1 else path.name for path in tracked}
    assert shown == there


@pytest.mark.slow
def test_every_module_says_what_it_is(tracked) -> None:
    for path in sources(tracked):
        assert ast.get_docstring(ast.parse((ROOT / path).read_text())), path


def test_files_stay_readable(tracked) -> None:
    for path in sources(tracked):
        assert len((ROOT / path).read_text().splitlines()) <= MOST_LINES, path


def test_sources_are_ascii(tracked) -> None:
    for path in tracked:
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".tpl"}:
            text = (ROOT / path).read_text()
            assert text.isascii(), f"{path}: {sorted(set(text) - set(map(chr, range(128))))}"


def test_no_registry_and_no_path_of_a_machine_is_named(tracked) -> None:
    for path in tracked:
        if path.suffix not in TEXT_SUFFIXES:
            continue
        text = (ROOT / path).read_text()
        for registry in REGISTRIES:
            assert registry not in text, f"{path}: {registry}"
        found = MACHINE_PATHS.search(text)
        assert found is None, f"{path}: {text[max(0, found.start() - 20) : found.end() + 20]}"


def test_weights_and_data_are_small(tracked) -> None:
    sizes = {
        path: (ROOT / path).stat().st_size for path in tracked if path.suffix in WEIGHTS_AND_DATA
    }
    weights = sum(size for path, size in sizes.items() if path.suffix == ".safetensors")
    assert weights <= MOST_BYTES_OF_WEIGHTS
    assert sum(sizes.values()) - weights <= MOST_BYTES_OF_PICTURES
    for path, size in sizes.items():
        assert size <= MOST_BYTES_IN_A_FILE, path


def test_each_test_stands_where_its_source_stands(tracked) -> None:
    for path in tracked:
        root, *rest = path.parts
        if root != "tests" or not path.name.startswith("test_") or rest[0] not in PACKAGES:
            continue
        source = Path(*rest[:-1]) / path.name.removeprefix("test_")
        package = source.with_suffix("")
        stands = (ROOT / source).is_file() or (ROOT / package).is_dir()
        assert stands or path.name in OF_A_WHOLE_PACKAGE, f"{path}: no {source}"


def test_tests_are_no_packages(tracked) -> None:
    assert not [path for path in tracked if path.parts[0] == "tests" and path.stem == "__init__"]
