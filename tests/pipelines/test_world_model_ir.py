"""What the compiled pipelines contain, read from the file a cluster takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.compile import compile_pipeline, pipeline_ir
from pipelines.definition import PIPELINES, find_pipeline
from pipelines.resources import (
    CLUSTER_PROFILE,
    LOCAL_PROFILE,
    Profile,
    StepResources,
    require_pinned_images,
    unhonoured_locally,
)
from worldloom.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PINNED = "example.invalid/worldloom/training@sha256:" + "a" * 64

EDGES = {
    "ingest": set(),
    "train-vae": {"ingest"},
    "encode-latents": {"ingest", "train-vae"},
    "train-transformer": {"encode-latents"},
    "distil-student": {"train-transformer", "encode-latents"},
    "distil-decoder": {"train-vae", "ingest"},
    "quantize": {"distil-student", "train-vae", "distil-decoder", "ingest"},
    "evaluate": {"quantize", "ingest"},
    "promote": {"quantize", "evaluate"},
}

STAGES = {
    "train-actions": {"encode-latents"},
    "train-memory": {"train-actions", "encode-latents"},
    "distil-cold-start": {"train-memory", "encode-latents"},
    "distil-multi-segment": {"train-memory", "distil-cold-start", "encode-latents"},
    "quantize": {"distil-multi-segment", "train-vae", "distil-decoder", "ingest"},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict, str]:
    path = tmp_path_factory.mktemp("ir") / "world_model.yaml"
    profile = CLUSTER_PROFILE.model_copy(update={"images": {"training": PINNED}, "queue": "gpus"})
    compile_pipeline(find_pipeline("world_model"), profile, path)
    spec, platform = yaml.safe_load_all(path.read_text())
    return (
        spec,
        platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"],
        path.read_text(),
    )


def test_tasks_and_edges(cluster: tuple[dict, dict, str]) -> None:
    tasks = cluster[0]["root"]["dag"]["tasks"]
    assert {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()} == EDGES


def test_stages_are_tasks_of_their_own_one_after_another(tmp_path: Path) -> None:
    ir = pipeline_ir(find_pipeline("staged"), tmp_path)
    tasks = ir["root"]["dag"]["tasks"]  # type: ignore[index,call-overload]
    at_once = ("train-transformer", "distil-student")
    expected = {name: edges for name, edges in EDGES.items() if name not in at_once} | STAGES
    assert {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()} == expected


def test_every_edge_is_a_digest_passed_as_a_string(cluster: tuple[dict, dict, str]) -> None:
    spec = cluster[0]
    for name, task in spec["root"]["dag"]["tasks"].items():
        assert "artifacts" not in task["inputs"], name
        component = spec["components"][task["componentRef"]["name"]]
        kinds = {p["parameterType"] for p in component["inputDefinitions"]["parameters"].values()}
        assert kinds == {"STRING"}


def test_every_task_takes_its_own_config_and_code(cluster: tuple[dict, dict, str]) -> None:
    for name, task in cluster[0]["root"]["dag"]["tasks"].items():
        parameters = task["inputs"]["parameters"]
        prefix = name.replace("-", "_")
        assert parameters["config"] == {"componentInputParameter": f"{prefix}_config"}
        assert parameters["code"] == {"componentInputParameter": f"{prefix}_code"}


def test_images_environment_and_resources(cluster: tuple[dict, dict, str]) -> None:
    executors = cluster[0]["deploymentSpec"]["executors"]
    images = {name: executor["container"]["image"] for name, executor in executors.items()}
    assert images["exec-train-vae"] == images["exec-encode-latents"] == PINNED
    assert images["exec-quantize"] == "worldloom/quantization"
    for executor in executors.values():
        environment = {e["name"]: e["value"] for e in executor["container"]["env"]}
        assert environment == {"WORLDLOOM_HOME": "/var/lib/worldloom"}
    train = executors["exec-train-transformer"]["container"]["resources"]
    assert train["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert train["accelerator"]["resourceCount"] == "1"
    assert train["resourceMemoryLimit"] == "64Gi"
    promote = executors["exec-promote"]["container"]["resources"]
    assert "accelerator" not in promote


def test_kubernetes_settings(cluster: tuple[dict, dict, str]) -> None:
    train = cluster[1]["exec-train-transformer"]
    assert train["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    keys = {entry["envVar"] for entry in train["secretAsEnv"][0]["keyToEnv"]}
    assert keys == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert train["podMetadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "gpus"}
    assert "emptyDirMounts" not in cluster[1]["exec-promote"]


def test_nothing_is_installed_at_run_time(cluster: tuple[dict, dict, str]) -> None:
    assert "pip install" not in cluster[2]
    assert "install" not in cluster[2]


@pytest.mark.parametrize("name", PIPELINES)
def test_interfaces_agree_with_the_steps_behind_them(name: str, tmp_path: Path) -> None:
    definition = find_pipeline(name)
    ir = pipeline_ir(definition, tmp_path)
    tasks = ir["root"]["dag"]["tasks"]  # type: ignore[index,call-overload]
    assert {task.replace("-", "_") for task in tasks} == set(definition.entries)
    parameters = ir["root"]["inputDefinitions"]["parameters"]  # type: ignore[index,call-overload]
    own = {f"{task}_{what}" for task in definition.entries for what in ("config", "code")}
    assert set(parameters) == own | set(definition.arguments)


@pytest.mark.slow
def test_compiling_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipelines.compile import compile_pipeline\n"
        "from pipelines.definition import PIPELINES\n"
        "from pipelines.resources import CLUSTER_PROFILE\n"
        "for name, definition in PIPELINES.items():\n"
        "    compile_pipeline(definition, CLUSTER_PROFILE, Path(sys.argv[1]) / f'{name}.yaml')\n"
        "print(sorted(m for m in ('torch', 'ray', 'deepspeed', 'mlflow') if m in sys.modules))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip().splitlines()[-1] == "[]"


def test_the_compiled_form_is_kept_until_a_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = find_pipeline("evaluation_only")
    fresh = pipeline_ir(definition, tmp_path)

    def refuse(*_: object) -> None:
        message = "compiled again"
        raise AssertionError(message)

    monkeypatch.setattr("pipelines.compile.build_pipeline", refuse)
    assert pipeline_ir(definition, tmp_path) == fresh
    monkeypatch.setattr("pipelines.compile.code_digest", lambda _: "sha256:other")
    with pytest.raises(AssertionError, match="compiled again"):
        pipeline_ir(definition, tmp_path)


def test_unpinned_images_are_refused() -> None:
    require_pinned_images({"training": PINNED}, {"training"})
    with pytest.raises(ConfigError, match=r"step evaluation: 'worldloom/evaluation' has no digest"):
        require_pinned_images({"training": PINNED}, {"training", "evaluation"})


def test_the_local_profile_names_what_it_leaves_out() -> None:
    profile = Profile(
        resources={
            "ingest": StepResources(cpu="2", memory="4Gi", shared_memory="1Gi"),
            "train_vae": StepResources(accelerator="nvidia.com/gpu", accelerator_count=1),
        },
        store_secret="keys",
    )
    said = unhonoured_locally(profile, {"ingest": "", "train_vae": ""})
    assert said == [
        "CPU and memory limits of ingest, train_vae",
        "accelerators of train_vae",
        "shared memory of ingest",
        "store secret keys",
    ]
    assert unhonoured_locally(LOCAL_PROFILE, {"ingest": ""}) == []


@pytest.mark.parametrize(
    "values", [{"memory": "4 GB"}, {"accelerator": "nvidia.com/gpu"}, {"accelerator_count": 1}]
)
def test_resources_that_make_no_sense_are_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|together"):
        StepResources(**values)
