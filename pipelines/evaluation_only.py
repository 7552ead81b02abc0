"""The graph `evaluation_only`: judge a stored release on stored clips, and promote nothing.

It knows one task and its edges; what judging means stays in the step.
"""

from kfp import dsl

from components.evaluation.component import evaluate
from pipelines.definition import PIPELINES
from pipelines.graph import Addition
from pipelines.resources import Profile

DEFINITION = PIPELINES["evaluation_only"]


def build(profile: Profile) -> dsl.base_component.BaseComponent:
    """Return the pipeline with a profile's settings written into it."""
    addition = Addition(DEFINITION, profile)

    @dsl.pipeline(name="evaluation-only", description="Judge a stored release")  # type: ignore[untyped-decorator]
    def evaluation_only(
        evaluate_config: str,
        evaluate_code: str,
        release: str,
        clips: str,
        champion: str = "",
    ) -> None:
        given = dict(locals())
        addition.task(evaluate, "evaluate", given, release=release, clips=clips, champion=champion)

    return evaluation_only
