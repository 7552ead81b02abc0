"""A real `tritonserver` that serves a fake release, for whoever asks for one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.inference.engine import EngineConfig
from services.inference.repository import RepositoryConfig, build_repository
from services.inference.server import InferenceServer, ServerConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "worldloom"))  # so that tests find `tiny`

SLOW_SEED = 29

FAKE_MODEL = f"""
from services.inference.fake_generator import FakeRelease
from services.inference.triton_model import TritonModel


class MixedRelease(FakeRelease):
    def open_session(self, *, seed, **start):
        session = super().open_session(seed=seed, **start)
        session.seconds_per_segment = 0.2 if seed == {SLOW_SEED} else 0.0
        return session


class TritonPythonModel(TritonModel):
    def open_release(self, folder, num_threads):
        if not (folder / "release.json").exists():
            raise FileNotFoundError(f"{{folder}} has no release.json")
        return MixedRelease()
"""


@pytest.fixture(scope="session")
def slow_seed() -> int:
    """Return the seed whose sessions take 0.2 s a segment; all others take none."""
    return SLOW_SEED


@pytest.fixture(scope="session")
def new_fake_server() -> Callable[..., InferenceServer]:
    """Return a maker of servers, not started: a folder, limits of the engine, and the rest."""

    def make(
        folder: Path,
        *,
        digest: str = "",
        store: str = "",
        server: ServerConfig | None = None,
        **limits: object,
    ) -> InferenceServer:
        release = folder / "the release"
        release.mkdir(parents=True, exist_ok=True)
        if not (release / "release.json").exists():
            (release / "release.json").write_text("{}")
        config = RepositoryConfig(
            num_threads=1,
            session_store=store,
            engine=EngineConfig(**{"max_idle_seconds": 20.0, **limits}),
        )
        repository = build_repository(folder / "model repository", release, config, digest=digest)
        (repository / "world" / "1" / "model.py").write_text(FAKE_MODEL)
        settings = server or ServerConfig(ready_timeout_seconds=60, exit_timeout_seconds=3)
        return InferenceServer(repository, settings, log_path=folder / "tritonserver.log")

    return make
