"""The graph `starter`: from captured clips to the weights that other runs begin from.

Annotations stay real objects, because KFP reads them.
"""

from kfp import dsl

from components.ingestion.component import ingest
from pipelines.definition import PIPELINES
from pipelines.graph import Addition, train
from pipelines.resources import Profile

DEFINITION = PIPELINES["starter"]


def build(profile: Profile) -> dsl.base_component.BaseComponent:
    """Return the pipeline with a profile's settings written into it."""
    addition = Addition(DEFINITION, profile)

    @dsl.pipeline(name="starter", description="Clips to starter weights")  # type: ignore[untyped-decorator]
    def starter(  # noqa: PLR0913 - one config and one code digest a task is KFP's interface
        ingest_config: str,
        ingest_code: str,
        train_vae_config: str,
        train_vae_code: str,
        encode_latents_config: str,
        encode_latents_code: str,
        train_transformer_config: str,
        train_transformer_code: str,
        distil_student_config: str,
        distil_student_code: str,
    ) -> None:
        given = dict(locals())
        clips = addition.task(ingest, "ingest", given).outputs["clips"]
        train(addition, given, clips=clips)

    return starter
