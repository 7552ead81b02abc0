"""Settings of the step `promotion`. It imports nothing that the step works with."""

from __future__ import annotations

from pydantic import Field

from worldloom.config import Config


class PromoteStepConfig(Config):
    """Which registered model and alias a release is promoted to."""

    model_name: str = Field(
        default="worldloom",
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="name of the registered model",
    )
    alias: str = Field(
        default="champion",
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="alias that names the release to serve",
    )
    lease_seconds: float = Field(
        default=120.0, gt=0, description="longest time that one move may take, seconds"
    )
    actor: str = Field(
        default="pipeline", min_length=1, description="for whom it is done, kept in the audit log"
    )
