"""What a task asks of the cluster: images, CPU, memory, accelerators, secrets.

One model per task, applied to the compiled pipeline. The local profile runs every task in this
machine's own processes, so `unhonoured_locally` says by name what it leaves out. kfp is imported
only where a task object is at hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator, model_validator

from worldloom.config import Config, load_config
from worldloom.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self

    from kfp.dsl import PipelineTask

_QUANTITY = re.compile(r"^\d+(\.\d+)?(m|[KMGT]i?)?$")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
STORE_SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class StepResources(Config):
    """What one task needs on a cluster."""

    cpu: str = Field(default="2", description="CPU request and limit, Kubernetes quantity")
    memory: str = Field(default="4Gi", description="memory request and limit, quantity")
    accelerator: str = Field(default="", description="resource name, such as nvidia.com/gpu")
    accelerator_count: int = Field(default=0, ge=0, description="accelerators, a count")
    shared_memory: str = Field(default="", description="size of /dev/shm, quantity; empty: none")
    timeout_seconds: int = Field(default=0, ge=0, description="limit in seconds; 0: none")

    @field_validator("cpu", "memory", "shared_memory")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value and not _QUANTITY.match(value):
            message = f"expected a Kubernetes quantity such as 500m or 16Gi, got {value!r}"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _accelerator_has_a_count(self) -> Self:
        if bool(self.accelerator) != (self.accelerator_count > 0):
            message = (
                f"accelerator {self.accelerator!r} and accelerator_count "
                f"{self.accelerator_count} must be given together"
            )
            raise ValueError(message)
        return self


class Profile(Config):
    """Where and how a compiled pipeline runs."""

    images: dict[str, str] = Field(
        default_factory=dict, description="step folder to image reference; absent: the default"
    )
    resources: dict[str, StepResources] = Field(
        default_factory=dict, description="task to what it needs"
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="plain environment variables of every task"
    )
    store_secret: str = Field(
        default="", description="Kubernetes secret with the object store's keys"
    )
    image_pull_secret: str = Field(default="", description="Kubernetes secret of the registry")
    queue: str = Field(default="", description="Kueue queue that admits the pods")


_GPU = StepResources(
    cpu="8", memory="64Gi", accelerator="nvidia.com/gpu", accelerator_count=1, shared_memory="16Gi"
)
LOCAL_PROFILE = Profile()
CLUSTER_PROFILE = Profile(
    resources={
        "ingest": StepResources(cpu="8", memory="32Gi", shared_memory="8Gi"),
        "train_vae": _GPU,
        "encode_latents": _GPU,
        "train_transformer": _GPU,
        "train_actions": _GPU,
        "train_memory": _GPU,
        "distil_student": _GPU,
        "distil_cold_start": _GPU,
        "distil_multi_segment": _GPU,
        "distil_decoder": _GPU,
        "quantize": _GPU,
        "evaluate": _GPU,
        "promote": StepResources(cpu="1", memory="1Gi"),
    },
    environment={"WORLDLOOM_HOME": "/var/lib/worldloom"},
    store_secret="worldloom-store",
)


def apply_profile(task: PipelineTask, name: str, step: str, profile: Profile) -> None:
    """Write a profile's settings for one task into the pipeline being compiled."""
    if step in profile.images:
        task.set_container_image(profile.images[step])
    for key, value in sorted(profile.environment.items()):
        task.set_env_variable(key, value)
    if name in profile.resources:
        _apply_resources(task, profile.resources[name])
    _apply_cluster_settings(task, profile)


def _apply_resources(task: PipelineTask, resources: StepResources) -> None:
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.accelerator:
        task.set_accelerator_type(resources.accelerator)
        task.set_accelerator_limit(resources.accelerator_count)
    if resources.shared_memory or resources.timeout_seconds:
        from kfp import kubernetes

        if resources.shared_memory:
            kubernetes.empty_dir_mount(
                task,
                volume_name="shm",
                mount_path="/dev/shm",
                medium="Memory",
                size_limit=resources.shared_memory,
            )
        if resources.timeout_seconds:
            kubernetes.set_timeout(task, seconds=resources.timeout_seconds)


def _apply_cluster_settings(task: PipelineTask, profile: Profile) -> None:
    if not (profile.store_secret or profile.image_pull_secret or profile.queue):
        return
    from kfp import kubernetes

    if profile.store_secret:
        kubernetes.use_secret_as_env(
            task,
            secret_name=profile.store_secret,
            secret_key_to_env={key: key for key in STORE_SECRET_KEYS},
        )
    if profile.image_pull_secret:
        kubernetes.set_image_pull_secrets(task, [profile.image_pull_secret])
    if profile.queue:
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", profile.queue)


def unhonoured_locally(profile: Profile, tasks: Mapping[str, str]) -> list[str]:
    """Name every setting of a profile that a run in local processes leaves out."""
    sentences: list[str] = []
    asked = {task: profile.resources[task] for task in tasks if task in profile.resources}
    if asked:
        sentences.append(f"CPU and memory limits of {', '.join(asked)}")
    for what, names in {
        "accelerators": [t for t, r in asked.items() if r.accelerator],
        "shared memory": [t for t, r in asked.items() if r.shared_memory],
        "timeouts": [t for t, r in asked.items() if r.timeout_seconds],
    }.items():
        if names:
            sentences.append(f"{what} of {', '.join(names)}")
    for what, value in {
        "images": ", ".join(f"{k}={v}" for k, v in profile.images.items()),
        "store secret": profile.store_secret,
        "image pull secret": profile.image_pull_secret,
        "queue": profile.queue,
    }.items():
        if value:
            sentences.append(f"{what} {value}")
    return sentences


def require_pinned_images(images: Mapping[str, str], steps: set[str]) -> None:
    """Refuse a submission whose images are not all pinned by digest.

    Raises:
        ConfigError: naming the first step without one.
    """
    for step in sorted(steps):
        image = images.get(step, f"worldloom/{step}")
        if not _DIGEST.search(image):
            message = (
                f"image of step {step}: {image!r} has no digest, "
                f"expected --image {step}=<name>@sha256:<64 hex digits>"
            )
            raise ConfigError(message)


def read_profile(path: Path) -> Profile:
    """Read a cluster's settings from a JSON file.

    Raises:
        ConfigError: if the file cannot be read or a setting is refused.
    """
    try:
        text = path.read_text()
    except OSError as error:
        message = f"profile {path}: cannot be read ({error.strerror}), expected a JSON file"
        raise ConfigError(message) from error
    return load_config(Profile, text, where=str(path))
