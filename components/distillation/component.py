"""KFP interfaces of the step `distillation`: names, types and image, and nothing of the work.

The bodies run inside the image and only hand their arguments to `components.launch`; KFP copies
them into the compiled pipeline, so they must not grow. Annotations stay real objects (no postponed
evaluation), because KFP reads them.
"""

from typing import NamedTuple

from kfp import dsl

IMAGE = "worldloom/distillation"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def distil_student(
    config: str,
    code: str,
    base: str,
    latents: str,
    student_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("student", str)]):  # type: ignore[valid-type]
    """Distil the few-step student."""
    from components.launch import launch

    return launch(
        "components.distillation.distil_student",
        config=config,
        code=code,
        parents={"base": base, "latents": latents},
        lineage={"student": student_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def distil_decoder(
    config: str,
    code: str,
    vae: str,
    clips: str,
    decoder_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("decoder", str)]):  # type: ignore[valid-type]
    """Distil the pruned VAE decoder."""
    from components.launch import launch

    return launch(
        "components.distillation.distil_decoder",
        config=config,
        code=code,
        parents={"vae": vae, "clips": clips},
        lineage={"decoder": decoder_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def distil_cold_start(
    config: str,
    code: str,
    base: str,
    latents: str,
    student_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("student", str)]):  # type: ignore[valid-type]
    """Distil behind recorded pasts (stage C1)."""
    from components.launch import launch

    return launch(
        "components.distillation.distil_cold_start",
        config=config,
        code=code,
        parents={"base": base, "latents": latents},
        lineage={"student": student_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def distil_multi_segment(
    config: str,
    code: str,
    base: str,
    student: str,
    latents: str,
    student_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("student", str)]):  # type: ignore[valid-type]
    """Distil behind the student's own segments (stage C2)."""
    from components.launch import launch

    return launch(
        "components.distillation.distil_multi_segment",
        config=config,
        code=code,
        parents={"base": base, "student": student, "latents": latents},
        lineage={"student": student_artifact},
    )
