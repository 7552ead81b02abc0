"""The record of how far a compressed model is from its original, and its file in a release.

It does not know how the comparison is made.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from worldloom.config import Config, canonical_json, load_config
from worldloom.errors import ArtifactError

PARITY_FILE = "parity.json"


class ParityReport(Config):
    """A compressed model beside its original."""

    latent_cosine: float = Field(ge=-1, le=1, description="cosine between the latents")
    latent_relative_error: float = Field(ge=0, description="norm of the difference over the norm")
    frame_psnr_db: float = Field(description="mean PSNR between the decoded frames, decibels")
    num_frames: int = Field(ge=1, description="frames compared")
    weight_bytes_ratio: float = Field(
        1.0, gt=0, description="bytes of the compressed weights over those of the original"
    )


def write_parity(folder: Path, report: ParityReport) -> None:
    """Write the report into a release folder."""
    (folder / PARITY_FILE).write_text(canonical_json(report.model_dump(mode="json")) + "\n")


def read_parity(folder: Path) -> ParityReport | None:
    """Return a release folder's report, None when it carries none.

    Raises:
        ArtifactError: when the file cannot be read.
        ConfigError: when it is no parity report.
    """
    path = folder / PARITY_FILE
    if not path.is_file():
        return None
    try:
        text = path.read_text()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror})"
        raise ArtifactError(message) from error
    return load_config(ParityReport, text, where=PARITY_FILE)
