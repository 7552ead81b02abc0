"""What must hold for every Dockerfile, read as text: no container engine is needed."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.code_digest import code_files

ROOT = Path(__file__).parents[2]
IMAGES = sorted((ROOT / "infra" / "images").glob("*.Dockerfile"))
REQUIREMENTS = ROOT / "requirements"
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "grpc": "grpcio",
    "jwt": "pyjwt",
    "opentelemetry": "opentelemetry-sdk",
    "prometheus_client": "prometheus-client",
    "yaml": "pyyaml",
}
TRITONS_OWN = {"triton_python_backend_utils"}

Instruction = tuple[str, str]


def instructions(path: Path) -> list[Instruction]:
    """Return each instruction's name and its arguments, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name.upper(), rest) for name, rest in found]


@pytest.fixture(params=IMAGES, ids=lambda path: path.stem)
def image(request) -> list[Instruction]:
    return instructions(request.param)


def values(image: list[Instruction], name: str) -> list[str]:
    return [rest for found, rest in image if found == name]


def test_there_is_an_image_for_each_kind_of_pod() -> None:
    assert [path.stem for path in IMAGES] == ["gateway", "inference", "mlflow", "step"]


def test_bases_are_arguments_without_defaults(image) -> None:
    arguments = values(image, "ARG")
    assert arguments
    assert all(re.fullmatch(r"[A-Z_]+", argument) for argument in arguments)
    for base in values(image, "FROM"):
        assert base.split()[0] in {f"${{{argument}}}" for argument in arguments}


def test_the_last_user_is_not_root(image) -> None:
    assert values(image, "USER")[-1] == "1000:1000"
    assert image[-1][0] == "USER"


def test_nothing_is_added_from_elsewhere(image) -> None:
    assert not values(image, "ADD")
    for _, rest in image:
        assert "://" not in rest
        assert not re.search(r"\b(curl|wget|git clone|apt-get)\b", rest)


def test_what_is_copied_exists(image) -> None:
    for copy in values(image, "COPY"):
        *sources, _ = shlex.split(copy)
        if sources[0].startswith("--from="):
            continue
        for source in sources:
            assert (ROOT / source).exists(), source


def test_what_is_copied_is_in_the_builds_context(image) -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for copy in values(image, "COPY"):
        *sources, _ = shlex.split(copy)
        for source in sources:
            if not source.startswith(("--from=", "/")):
                kept = re.sub(r"[a-z]+\.txt$", "*.txt", source)
                assert allowed & {kept, *map(str, Path(source).parents)}, source


def test_packages_are_installed_by_hash(image) -> None:
    installs = [rest for rest in values(image, "RUN") if "pip install" in rest]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[0]
    [listed] = re.findall(r"-r /requirements/([a-z]+\.txt)", installs[0])
    assert (REQUIREMENTS / listed).exists()


def pins(name: str) -> dict[str, str]:
    """Return each distribution's version; every one of them must have a hash."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (REQUIREMENTS / name).read_text().strip()):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", entry)
        assert match, entry
        assert "--hash=sha256:" in entry, match[1]
        found[match[1].lower()] = match[2]
    return found


@pytest.mark.parametrize("name", ["gateway.txt", "inference.txt", "mlflow.txt", "steps.txt"])
def test_images_hold_the_versions_that_are_tested_here(name: str) -> None:
    lock = pins("lock.txt")
    differing = {
        package: version
        for package, version in pins(name).items()
        if package in lock and lock[package] != version
    }
    assert not differing
    extra = set(pins(name)) - set(lock)
    assert extra <= {"psycopg2-binary"}


def third_party_imports(entry: str) -> set[str]:
    """Return the top-level names outside the project that an entry's sources import."""
    names: set[str] = set()
    for path in code_files(entry):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    project = {path.name for path in ROOT.iterdir() if path.is_dir()}
    return names - set(sys.stdlib_module_names) - project


@pytest.mark.parametrize(
    "entry",
    ["services.inference.triton_model", "services.inference.fetch_release", "services.make_bucket"],
)
def test_the_inference_image_holds_what_its_programs_import(entry: str) -> None:
    listed = pins("inference.txt")
    for name in third_party_imports(entry) - TRITONS_OWN:
        assert DISTRIBUTIONS.get(name, name) in listed


GATEWAY_MODULES = [
    f"services.gateway.{path.stem}"
    for path in sorted((ROOT / "services" / "gateway").glob("*.py"))
    if path.stem not in {"__init__", "__main__"}
]
IMPORT_THEM = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(sys.modules))
"""


@pytest.fixture(scope="module")
def gateways_sources(tmp_path_factory) -> Path:
    """Return a folder with what the gateway's image copies of this repository, and nothing else."""
    folder: Path = tmp_path_factory.mktemp("image")
    for copy in values(instructions(ROOT / "infra" / "images" / "gateway.Dockerfile"), "COPY"):
        *sources, target = shlex.split(copy)
        if sources[0].startswith(("--from=", "requirements/")):
            continue
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target)
            else:
                (folder / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, folder / target)
    return folder


@pytest.mark.slow
def test_the_gateways_image_holds_all_of_ours_that_it_imports_and_no_torch(
    gateways_sources: Path,
) -> None:
    # Isolated (-I): neither this repository nor what the tests' path names can be imported.
    script = f"import sys; sys.path.insert(0, {str(gateways_sources)!r}){IMPORT_THEM}"
    found = subprocess.run(
        [sys.executable, "-I", "-c", script, *GATEWAY_MODULES],
        cwd=gateways_sources,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    loaded = set(found.stdout.split())
    assert not loaded & {"torch", "mlflow", "ray", "kfp", "pytriton", "services.inference"}
    ours = {name for name in loaded if name.partition(".")[0] == "worldloom"}
    copied = {path.stem for path in (gateways_sources / "worldloom").glob("*.py")}
    assert ours == {"worldloom", *(f"worldloom.{stem}" for stem in copied - {"__init__"})}


@pytest.mark.slow
@pytest.mark.parametrize("entry", GATEWAY_MODULES)
def test_the_gateways_image_holds_the_packages_that_it_imports(entry: str) -> None:
    listed = pins("gateway.txt")
    for name in third_party_imports(entry):
        assert DISTRIBUTIONS.get(name, name) in listed
