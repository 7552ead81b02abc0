"""KFP interfaces of the step `training`: names, types and image, and nothing of the work.

The bodies run inside the image and only hand their arguments to `components.launch`; KFP copies
them into the compiled pipeline, so they must not grow. Annotations stay real objects (no postponed
evaluation), because KFP reads them.
"""

from typing import NamedTuple

from kfp import dsl

IMAGE = "worldloom/training"


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def train_vae(
    config: str,
    code: str,
    clips: str,
    vae_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("vae", str)]):  # type: ignore[valid-type]
    """Train the causal video VAE."""
    from components.launch import launch

    return launch(
        "components.training.train_vae",
        config=config,
        code=code,
        parents={"clips": clips},
        lineage={"vae": vae_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def encode_latents(
    config: str,
    code: str,
    clips: str,
    vae: str,
    latents_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("latents", str)]):  # type: ignore[valid-type]
    """Encode every clip once."""
    from components.launch import launch

    return launch(
        "components.training.encode_latents",
        config=config,
        code=code,
        parents={"clips": clips, "vae": vae},
        lineage={"latents": latents_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def train_transformer(
    config: str,
    code: str,
    latents: str,
    base_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("base", str)]):  # type: ignore[valid-type]
    """Train the world model's transformer."""
    from components.launch import launch

    return launch(
        "components.training.train_transformer",
        config=config,
        code=code,
        parents={"latents": latents},
        lineage={"base": base_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def train_actions(
    config: str,
    code: str,
    latents: str,
    base_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("base", str)]):  # type: ignore[valid-type]
    """Train a transformer that obeys (stage A)."""
    from components.launch import launch

    return launch(
        "components.training.train_actions",
        config=config,
        code=code,
        parents={"latents": latents},
        lineage={"base": base_artifact},
    )


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)  # type: ignore[untyped-decorator]
def train_memory(
    config: str,
    code: str,
    base: str,
    latents: str,
    base_artifact: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("base", str)]):  # type: ignore[valid-type]
    """Teach it memory and self-correction (stage B)."""
    from components.launch import launch

    return launch(
        "components.training.train_memory",
        config=config,
        code=code,
        parents={"base": base, "latents": latents},
        lineage={"base": base_artifact},
    )
