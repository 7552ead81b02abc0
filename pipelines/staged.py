"""The graph `staged`: from captured clips to a promoted release, training in four stages.

Actions, memory, cold start and multi-segment distillation are a task each, so that each is taken
again from the store while the ones after it change.

It knows the tasks and their edges, all of which are digests passed as strings, so that KFP's own
caches see what the content is. It imports kfp and the steps' interfaces, never their work.
Annotations stay real objects, because KFP reads them.
"""

from kfp import dsl

from components.ingestion.component import ingest
from pipelines.definition import PIPELINES
from pipelines.graph import Addition, judge, train_in_stages
from pipelines.resources import Profile

DEFINITION = PIPELINES["staged"]


def build(profile: Profile) -> dsl.base_component.BaseComponent:
    """Return the pipeline with a profile's settings written into it."""
    addition = Addition(DEFINITION, profile)

    @dsl.pipeline(name="staged", description="Clips to a promoted release, in stages")  # type: ignore[untyped-decorator]
    def staged(  # noqa: PLR0913 - one config and one code digest a task is KFP's interface
        ingest_config: str,
        ingest_code: str,
        train_vae_config: str,
        train_vae_code: str,
        encode_latents_config: str,
        encode_latents_code: str,
        train_actions_config: str,
        train_actions_code: str,
        train_memory_config: str,
        train_memory_code: str,
        distil_cold_start_config: str,
        distil_cold_start_code: str,
        distil_multi_segment_config: str,
        distil_multi_segment_code: str,
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
        trained = train_in_stages(addition, given, clips=clips)
        judge(addition, given, trained=trained, clips=clips, champion=champion)

    return staged
