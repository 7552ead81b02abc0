"""The graph `retraining`: the graph `world_model` from clips that are already in the store.

The trigger on new clips starts it. It knows what `world_model` knows.
"""

from kfp import dsl

from pipelines.definition import PIPELINES
from pipelines.graph import Addition, judge, train
from pipelines.resources import Profile

DEFINITION = PIPELINES["retraining"]


def build(profile: Profile) -> dsl.base_component.BaseComponent:
    """Return the pipeline with a profile's settings written into it."""
    addition = Addition(DEFINITION, profile)

    @dsl.pipeline(name="retraining", description="Stored clips to a promoted release")  # type: ignore[untyped-decorator]
    def retraining(  # noqa: PLR0913 - one config and one code digest a task is KFP's interface
        clips: str,
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
        trained = train(addition, given, clips=clips)
        judge(addition, given, trained=trained, clips=clips, champion=champion)

    return retraining
