"""What must be known of a trained transformer beside its weights, apart from code that needs torch.

It does not know the weights.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from worldloom.config import Config, load_config
from worldloom.errors import ArtifactError
from worldloom.memory.config import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.rollout.config import SamplerConfig

CONFIG_FILE = "transformer.json"


class ModelCheckpointConfig(Config):
    """What must be known of a transformer beside its weights."""

    transformer: TransformerConfig = Field(description="shape of the network")
    sampler: SamplerConfig = Field(description="noise levels and solver that it is sampled with")
    retrieval: RetrievalConfig = Field(
        default_factory=lambda: RetrievalConfig(), description="memory retrieval it learned with"
    )


def load_model_config(folder: Path) -> ModelCheckpointConfig:
    """Return what a checkpoint says of its model.

    Raises:
        ArtifactError: when the folder holds no model.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        message = f"{path}: missing, expected the shapes of a stored transformer"
        raise ArtifactError(message)
    return load_config(ModelCheckpointConfig, path.read_text(), where=path.name)
