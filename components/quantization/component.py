"""KFP interfaces of the step `quantization`: names, types and image, and nothing of the work.

The bodies run inside the image and only hand their arguments to `components.launch`; KFP copies
them into the compiled pipeline, so they must not grow. Annotations stay real objects (no postponed
evaluation), because KFP reads them.
"""

from typing import NamedTuple

from kfp import dsl

IMAGE = "worldloom/quantization"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def quantize(
    config: str,
    code: str,
    student: str,
    vae: str,
    decoder: str,
    clips: str,
    quantized_artifact: dsl.Output[dsl.Artifact],
    release_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("quantized", str), ("release", str)]):  # type: ignore[valid-type]
    """Convert to 8 bits and assemble the release."""
    from components.launch import launch

    return launch(
        "components.quantization.quantize",
        config=config,
        code=code,
        parents={"student": student, "vae": vae, "decoder": decoder, "clips": clips},
        lineage={"quantized": quantized_artifact, "release": release_artifact},
    )
