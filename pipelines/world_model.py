"""The graph `world_model`: from captured clips to a promoted release.

It knows the tasks and their edges, all of which are digests passed as strings, so that KFP's own
caches see what the content is. It imports kfp and the steps' interfaces, never their work.
Annotations stay real objects, because KFP reads them.
"""

from kfp import dsl

from components.ingestion.component import ingest
from pipelines.definition import PIPELINES
from pipelines.graph import Addition, judge, train
from pipelines.resources import Profile

DEFINITION = PIPELINES["world_model"]


def build(profile: Profile) -> dsl.base_component.BaseComponent:
    """Return the pipeline with a profile's settings written into it."""
    addition = Addition(DEFINITION, profile)

    @dsl.pipeline(name="world-model", description="Clips to a promoted world model release")  # type: ignore[untyped-decorator]
    def world_model(  # noqa: PLR0913 - one config and one code digest a task is KFP's interface
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
        distil_decoder_config: str,
        distil_decoder_code: str,
        quantize_config: str,
        quantize_code: str,
        evaluate_config: str,
        evaluate_code: str,
        promote_config: str,
        promote_code: str,
        champion: str = "",
    ) -> None:
        given = dict(locals())
        clips = addition.task(ingest, "ingest", given).outputs["clips"]
        trained = train(addition, given, clips=clips)
        judge(addition, given, trained=trained, clips=clips, champion=champion)

    return world_model
