"""The gate's verdict on one release, read from an evaluation report.

It knows the report's verdict, reasons and inputs and none of its metrics.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worldloom.errors import PromotionError
from worldloom.store.protocol import ArtifactStore

REPORT_NAME = "report.json"
RELEASE_ROLE = "release"
CHAMPION_ROLE = "champion"


class Verdict(BaseModel):
    """What the gate said, of the much that a report holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    verdict: Literal["pass", "refuse"] = Field(description="the gate's decision")
    reasons: tuple[str, ...] = Field(description="a sentence for each bar, met or missed")
    compared_with: str = Field(
        default="", description="digest of the champion it was compared with, empty for none"
    )


def read_verdict(store: ArtifactStore, report: str, release: str) -> Verdict:
    """Return the verdict of a stored report about this very release.

    Raises:
        ArtifactError: if the report is missing or damaged.
        PromotionError: if it is about another release or holds no verdict.
    """
    folder = store.fetch(report, kind="evaluation-report")
    parents = store.manifest(report).parents
    if parents.get(RELEASE_ROLE) != release:
        message = (
            f"report {report} judges release {parents.get(RELEASE_ROLE, 'none')}, "
            f"expected one that judges {release}"
        )
        raise PromotionError(message)
    try:
        verdict = Verdict.model_validate_json((folder / REPORT_NAME).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        message = f"report {report} holds no verdict: {REPORT_NAME} is missing or of another form"
        raise PromotionError(message) from error
    return verdict.model_copy(update={"compared_with": parents.get(CHAMPION_ROLE, "")})
