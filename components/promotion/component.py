"""KFP interfaces of the step `promotion`: names, types and image, and nothing of the work.

The bodies run inside the image and only hand their arguments to `components.launch`; KFP copies
them into the compiled pipeline, so they must not grow. Annotations stay real objects (no postponed
evaluation), because KFP reads them.
"""

from typing import NamedTuple

from kfp import dsl

IMAGE = "worldloom/promotion"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def promote(
    config: str,
    code: str,
    release: str,
    report: str,
) -> NamedTuple(  # type: ignore[valid-type]
    "Outputs", [("model_version", str), ("champion", str), ("decision", str), ("reasons", str)]
):
    """Register the release and move the alias if the gate passed; say who is champion and why."""
    from components.launch import launch

    return launch(
        "components.promotion.promote",
        config=config,
        code=code,
        parents={"release": release, "report": report},
        lineage={},
    )
