"""Model repositories: the folder that tells Triton what to serve, the same on a CPU and on a GPU.

`<repository>/world/config.pbtxt`, `<repository>/world/1/model.py` and, beside it, the release as a
link (on this machine) or a copy (in an image). The checked-in `model_repository/` is what
`render_config` gives by default. It knows the form of `config.pbtxt` and no running server.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from services.contract import INPUTS, MODEL_NAME, OUTPUTS, TensorSpec
from services.inference.engine import EngineConfig
from worldloom.artifacts import MANIFEST_NAME, read_manifest, verify_folder
from worldloom.config import Config
from worldloom.errors import ServingError

SOURCE = Path(__file__).parent / "model_repository"
RELEASE_VARIABLE = "WORLDLOOM_RELEASE"
RELEASE_PARAMETER = "release_folder"
DIGEST_PARAMETER = "release_digest"
ENGINE_PARAMETER = "engine"
THREADS_PARAMETER = "num_threads"
STORE_PARAMETER = "session_store"
_RELEASE_LINK = "1/release"


class RepositoryConfig(Config):
    """How a release is served."""

    instance_kind: Literal["KIND_CPU", "KIND_GPU"] = Field(
        "KIND_CPU", description="what the one model instance runs on; a release may refuse a GPU"
    )
    # More threads than free cores make a small model several times slower.
    num_threads: int = Field(1, ge=1, description="torch threads of the model's process")
    session_store: str = Field(
        "",
        description="where resumable sessions are kept: a folder or s3://bucket/prefix; by default "
        "$WORLDLOOM_SESSION_STORE, and in memory alone where that is not set",
    )
    engine: EngineConfig = Field(EngineConfig(), description="limits of the engine")


def build_repository(
    folder: Path,
    release: Path,
    config: RepositoryConfig,
    *,
    digest: str = "",
    copy_release: bool = False,
) -> Path:
    """Write a model repository for a release folder and return its folder.

    An earlier repository of the same folder is replaced. The digest, where given, is verified by
    the model before it loads the release.

    Raises:
        ServingError: when there is no release folder.
    """
    if not release.is_dir():
        message = f"release folder {release} does not exist, expected the folder of a release"
        raise ServingError(message)
    model = folder / MODEL_NAME
    if model.exists():
        shutil.rmtree(model)
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(render_config(config, digest=digest))
    shutil.copyfile(SOURCE / MODEL_NAME / "1" / "model.py", model / "1" / "model.py")
    if copy_release:
        shutil.copytree(release, model / _RELEASE_LINK)
    else:
        (model / _RELEASE_LINK).symlink_to(release.resolve(), target_is_directory=True)
    return folder


def render_config(config: RepositoryConfig, *, digest: str = "") -> str:
    """Return the text of `config.pbtxt`."""
    parameters = {
        RELEASE_PARAMETER: _RELEASE_LINK,
        DIGEST_PARAMETER: digest,
        THREADS_PARAMETER: str(config.num_threads),
        STORE_PARAMETER: config.session_store,
        ENGINE_PARAMETER: json.dumps(config.engine.model_dump(mode="json")),
    }
    lines = [
        f'name: "{MODEL_NAME}"',
        'backend: "python"',
        "max_batch_size: 0",
        "model_transaction_policy { decoupled: true }",
        f"instance_group [ {{ kind: {config.instance_kind} count: 1 }} ]",
        *(_tensor("input", spec) for spec in INPUTS),
        *(_tensor("output", spec) for spec in OUTPUTS),
        *(_parameter(name, value) for name, value in parameters.items()),
    ]
    return "\n".join(lines) + "\n"


def release_folder(parameter: str, variable: str, model_folder: Path) -> Path:
    """Return the release's folder: the environment's, else the parameter's, under the model's."""
    return Path(variable).resolve() if variable else (model_folder / parameter).resolve()


def verified_digest(folder: Path, digest: str) -> str:
    """Return the digest of a release folder whose files agree with its manifest.

    Without a digest to expect, the folder's own manifest is taken, and "" when it has none.

    Raises:
        ArtifactError: naming the file that is missing or differs.
    """
    if not digest and not (folder / MANIFEST_NAME).exists():
        return ""
    return verify_folder(folder, digest or read_manifest(folder).digest).digest


def _tensor(role: str, spec: TensorSpec) -> str:
    dims = ", ".join(map(str, spec.dims))
    optional = " optional: true" if spec.is_optional else ""
    fields = f'name: "{spec.name}" data_type: {spec.data_type} dims: [ {dims} ]{optional}'
    return f"{role} [ {{ {fields} }} ]"


def _parameter(name: str, value: str) -> str:
    # A JSON string literal is a protobuf text literal too, as long as it is ASCII.
    return f"parameters {{ key: {json.dumps(name)} value {{ string_value: {json.dumps(value)} }} }}"
