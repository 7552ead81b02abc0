"""The part that graphs share: adding a task, and the path from clips to a promoted release.

It knows kfp's task objects and the steps' interfaces, never their work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.distillation.component import (
    distil_cold_start,
    distil_decoder,
    distil_multi_segment,
    distil_student,
)
from components.evaluation.component import evaluate
from components.promotion.component import promote
from components.quantization.component import quantize
from components.training.component import (
    encode_latents,
    train_actions,
    train_memory,
    train_transformer,
    train_vae,
)
from pipelines.definition import PipelineDefinition, step_of
from pipelines.resources import Profile, apply_profile

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask


@dataclass(frozen=True)
class Addition:
    """Adds tasks to the pipeline that is being traced, with one profile's settings."""

    definition: PipelineDefinition
    profile: Profile

    def task(
        self,
        component: Callable[..., PipelineTask],
        name: str,
        given: Mapping[str, object],
        **parents: object,
    ) -> PipelineTask:
        """Add a task: its own config and code digest, and its parents' digests."""
        added = component(config=given[f"{name}_config"], code=given[f"{name}_code"], **parents)
        apply_profile(added, name, step_of(self.definition, name), self.profile)
        return added


@dataclass(frozen=True)
class Trained:
    """The outputs of the tasks that learn."""

    vae: object
    student: object


def train(addition: Addition, given: Mapping[str, object], *, clips: object) -> Trained:
    """Add every task from the VAE to the student."""
    vae, latents = _to_latents(addition, given, clips)
    base = addition.task(train_transformer, "train_transformer", given, latents=latents).outputs[
        "base"
    ]
    student = addition.task(
        distil_student, "distil_student", given, base=base, latents=latents
    ).outputs["student"]
    return Trained(vae, student)


def train_in_stages(addition: Addition, given: Mapping[str, object], *, clips: object) -> Trained:
    """Add the same path as Matrix-Game 3.0's stages A, B, C1 and C2, a task each."""
    vae, latents = _to_latents(addition, given, clips)
    obeys = addition.task(train_actions, "train_actions", given, latents=latents)
    base = addition.task(
        train_memory, "train_memory", given, base=obeys.outputs["base"], latents=latents
    ).outputs["base"]
    cold = addition.task(distil_cold_start, "distil_cold_start", given, base=base, latents=latents)
    student = addition.task(
        distil_multi_segment,
        "distil_multi_segment",
        given,
        base=base,
        student=cold.outputs["student"],
        latents=latents,
    ).outputs["student"]
    return Trained(vae, student)


def judge(
    addition: Addition,
    given: Mapping[str, object],
    *,
    trained: Trained,
    clips: object,
    champion: object,
) -> None:
    """Add every task from the student to the promotion."""
    decoder = addition.task(
        distil_decoder, "distil_decoder", given, vae=trained.vae, clips=clips
    ).outputs["decoder"]
    release = addition.task(
        quantize,
        "quantize",
        given,
        student=trained.student,
        vae=trained.vae,
        decoder=decoder,
        clips=clips,
    ).outputs["release"]
    report = addition.task(
        evaluate, "evaluate", given, release=release, clips=clips, champion=champion
    ).outputs["report"]
    addition.task(promote, "promote", given, release=release, report=report)


def _to_latents(
    addition: Addition, given: Mapping[str, object], clips: object
) -> tuple[object, object]:
    """Add the VAE and the encoding of clips; return both outputs."""
    vae = addition.task(train_vae, "train_vae", given, clips=clips).outputs["vae"]
    encoded = addition.task(encode_latents, "encode_latents", given, clips=clips, vae=vae)
    return vae, encoded.outputs["latents"]
