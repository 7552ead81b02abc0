"""Starter weights enter a run by their digests."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path

import pytest

from pipelines.definition import find_pipeline
from pipelines.starter import default_starter_folder, starter_values
from worldloom.config import parse_config
from worldloom.errors import ArtifactError, ConfigError
from worldloom.model.config import TransformerConfig
from worldloom.rollout.config import SamplerConfig
from worldloom.train.model_config import ModelCheckpointConfig

PRESET = "demo"
SHAPE = TransformerConfig(latent_height=12, latent_width=20)
BASE = SamplerConfig(sigmas=(1.0, 0.5), solver="euler")
STUDENT = SamplerConfig(sigmas=(1.0, 0.9, 0.75))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("vae/vae", "base/transformer", "student/transformer"):
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir()
        path.write_text(name)
    for part, sampler in (("base", BASE), ("student", STUDENT)):
        known = ModelCheckpointConfig(transformer=SHAPE, sampler=sampler)
        (tmp_path / part / "transformer.json").write_text(known.model_dump_json())
    return tmp_path


def test_each_task_is_given_the_digest_of_its_part(folder: Path) -> None:
    values = starter_values(find_pipeline("world_model"), folder, PRESET)
    digests = {task: asked["starter"] for task, asked in values.items() if "starter" in asked}
    assert digests == {
        task: "sha256:" + hashlib.sha256(name.encode()).hexdigest()
        for task, name in (
            ("train_vae", "vae/vae"),
            ("train_transformer", "base/transformer"),
            ("distil_student", "student/transformer"),
        )
    }


def test_a_run_records_frames_as_large_as_the_starter_saw(folder: Path) -> None:
    size = {"height": 96, "width": 160}
    values = starter_values(find_pipeline("world_model"), folder, PRESET)
    assert (values["ingest"]["procedural"], values["ingest"]["vizdoom"]) == (size, size)
    assert "ingest" not in starter_values(find_pipeline("retraining"), folder, PRESET)


def test_a_run_samples_as_the_starter_was_taught_to(folder: Path) -> None:
    values = json.loads(json.dumps(starter_values(find_pipeline("world_model"), folder, PRESET)))
    assert values["train_transformer"]["sampler"]["sigmas"] == [1.0, 0.5]
    assert values["distil_student"]["distillation"]["sampler"]["sigmas"] == [1.0, 0.9, 0.75]


@pytest.mark.parametrize("pipeline", ["world_model", "staged"])
def test_what_a_run_takes_is_accepted_by_its_tasks(folder: Path, pipeline: str) -> None:
    definition = find_pipeline(pipeline)
    for task, values in starter_values(definition, folder, PRESET).items():
        step = vars(importlib.import_module(definition.entries[task]))["STEP"]
        parse_config(step.config, values, where=task)


def test_a_narrow_decoder_is_taught_further_where_there_is_one(folder: Path) -> None:
    (folder / "decoder-50").mkdir()
    (folder / "decoder-50" / "decoder.safetensors").write_bytes(b"narrow")
    values = starter_values(find_pipeline("world_model"), folder, PRESET)
    digest = hashlib.sha256(b"narrow").hexdigest()
    assert values["distil_decoder"]["starter"] == f"sha256:{digest}"
    assert values["distil_decoder"]["objective"]["removed"] == 0.5


def test_a_run_in_stages_takes_the_vae_and_trains_the_starters_shape(folder: Path) -> None:
    values = starter_values(find_pipeline("staged"), folder, PRESET)
    assert values["train_vae"]["starter"]
    shape = TransformerConfig.model_validate(values["train_actions"]["transformer"])
    assert shape == SHAPE
    assert (
        values["ingest"] == starter_values(find_pipeline("world_model"), folder, PRESET)["ingest"]
    )
    samplers = [
        values[task]["distillation"] for task in ("distil_cold_start", "distil_multi_segment")
    ]
    assert samplers == [{"sampler": STUDENT.model_dump(mode="json")}] * 2


def test_the_demo_fine_tunes_and_a_preset_for_tests_does_as_it_says(folder: Path) -> None:
    demo, smallest = (
        starter_values(find_pipeline("world_model"), folder, preset)
        for preset in ("demo", "smallest")
    )
    assert demo["train_transformer"]["trainer"]["num_steps"] > 0
    assert "trainer" not in smallest["train_transformer"]


def test_pipelines_that_train_nothing_need_none(tmp_path: Path) -> None:
    assert starter_values(find_pipeline("evaluation_only"), tmp_path, PRESET) == {}


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "base" / "transformer.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"base/transformer.safetensors: .* or --from-scratch"):
        starter_values(find_pipeline("world_model"), folder, PRESET)


def test_missing_shapes_are_named(folder: Path) -> None:
    (folder / "student" / "transformer.json").unlink()
    with pytest.raises(ArtifactError, match="expected the shapes of a stored transformer"):
        starter_values(find_pipeline("world_model"), folder, PRESET)


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLDLOOM_STARTER", str(tmp_path))
    assert default_starter_folder() == tmp_path
