"""What is refused before anything is sent to a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.definition import PipelineDefinition, find_pipeline
from pipelines.resources import Profile
from pipelines.submit import submit_run
from worldloom.errors import ConfigError, MachineError, WorldloomError
from worldloom.store import ArtifactStore, FolderStore

PINNED = {"evaluation": "worldloom/evaluation@sha256:" + "a" * 64}


@dataclass
class FakePreparedRun:
    """What `submit_run` reads of a prepared run."""

    store: ArtifactStore
    definition: PipelineDefinition = field(default_factory=lambda: find_pipeline("evaluation_only"))
    arguments: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("endpoint", "profile", "error", "sentence"),
    [
        ("", Profile(), ConfigError, "expected --endpoint or KFP_ENDPOINT"),
        ("localhost:8080", Profile(), ConfigError, "expected --endpoint"),
        ("http://127.0.0.1:9", Profile(), ConfigError, "has no digest"),
        ("http://127.0.0.1:9", Profile(images=PINNED), ConfigError, "a cluster cannot read it"),
        (
            "http://127.0.0.1:9",
            Profile(images=PINNED, environment={"WORLDLOOM_STORE": "s3://bucket/worlds"}),
            MachineError,
            "does not answer at http://127.0.0.1:9",
        ),
    ],
)
def test_refusals(
    endpoint: str, profile: Profile, error: type[WorldloomError], sentence: str, tmp_path: Path
) -> None:
    prepared = FakePreparedRun(FolderStore(tmp_path))
    with pytest.raises(error, match=sentence):
        submit_run(prepared, endpoint=endpoint, profile=profile)  # type: ignore[arg-type]
