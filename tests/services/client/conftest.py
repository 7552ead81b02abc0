import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find `fake_gateway`

CLIENT = Path(__file__).parents[3] / "services" / "client"
# What the SDK may not need, wherever it is installed.
FOREIGN = ("torch", "worldloom", "services", "components", "pipelines", "cli")
GUARD = f"""
import runpy, sys


class Foreign:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FOREIGN!r}:
            raise ImportError(f"the client reached for {{name}}")
        return None


sys.meta_path.insert(0, Foreign())
"""

RunClient = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    hatchling = Path(sys.executable).with_name("hatchling")
    build = [str(hatchling), "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def run_client(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> RunClient:
    """Run code where the wheel is unpacked and nothing of the repository can be imported."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:  # a pure wheel's files are what an installer copies
        archive.extractall(site)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(code: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", GUARD + code, *arguments],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
