"""KFP interfaces of the step `ingestion`: names, types and image, and nothing of the work.

The bodies run inside the image and only hand their arguments to `components.launch`; KFP copies
them into the compiled pipeline, so they must not grow. Annotations stay real objects (no postponed
evaluation), because KFP reads them.
"""

from typing import NamedTuple

from kfp import dsl

IMAGE = "worldloom/ingestion"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def ingest(
    config: str,
    code: str,
    clips_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("clips", str)]):  # type: ignore[valid-type]
    """Capture, filter and caption clips."""
    from components.launch import launch

    return launch(
        "components.ingestion.ingest",
        config=config,
        code=code,
        parents={},
        lineage={"clips": clips_artifact},
    )
