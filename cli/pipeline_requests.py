"""What the verbs of `worldloom pipeline` share: where state is, and how options are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.resources import Profile


def home() -> Path:
    """Return the folder of this machine's state."""
    from components.runtime import home_folder

    return home_folder()


def store_address(given: str = "") -> str:
    """Return the artifact store's address: the option, the environment or the default."""
    return given or os.environ.get("WORLDLOOM_STORE") or str(home() / "store")


def starter_folder(*, from_scratch: bool) -> Path | None:
    """Return the folder of starter weights, None to train from nothing."""
    from pipelines.starter import default_starter_folder

    return None if from_scratch else default_starter_folder()


def cluster_profile(path: Path | None, images: list[str] | None) -> Profile:
    """Return the cluster's settings, with the images that were named."""
    from pipelines.resources import CLUSTER_PROFILE, read_profile

    profile = read_profile(path) if path else CLUSTER_PROFILE
    pinned = {**profile.images, **pairs(images, "--image")}
    return profile.model_copy(update={"images": pinned})


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Split `name=value` texts.

    Raises:
        ConfigError: naming the option and the text.
    """
    from worldloom.errors import ConfigError

    pairs: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            message = f"{option} {text!r}: expected name=value"
            raise ConfigError(message)
        pairs[name] = value
    return pairs
