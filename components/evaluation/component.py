"""KFP interfaces of the step `evaluation`: names, types and image, and nothing of the work.

The bodies run inside the image and only hand their arguments to `components.launch`; KFP copies
them into the compiled pipeline, so they must not grow. Annotations stay real objects (no postponed
evaluation), because KFP reads them.
"""

from typing import NamedTuple

from kfp import dsl

IMAGE = "worldloom/evaluation"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate(
    config: str,
    code: str,
    release: str,
    clips: str,
    champion: str,
    report_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("report", str), ("verdict", str)]):  # type: ignore[valid-type]
    """Judge the release against the champion."""
    from components.launch import launch

    return launch(
        "components.evaluation.evaluate",
        config=config,
        code=code,
        parents={"release": release, "clips": clips, "champion": champion},
        lineage={"report": report_artifact},
    )
