"""The step `promote`: a release becomes champion if its report says that it may.

A gate that refused is no failure of the step: nothing moves, and the outputs name the incumbent
and the reasons. A step that was killed after the champion had moved says so when it goes on, as if
it had not been killed. It does not know how the guard works.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.promotion.config import PromoteStepConfig
from components.provenance import source_commit
from components.runtime import Step
from components.tracking import open_client
from services.registry import current_champion
from services.registry.mlflow_models import MlflowModels
from services.registry.promotion import Decision, Guard, Outcome
from worldloom.errors import TrackingError
from worldloom.log import log_event

if TYPE_CHECKING:
    from components.runtime import StepContext

logger = logging.getLogger(__name__)

STEP = Step(
    name="promote",
    config=PromoteStepConfig,
    parents=("release", "report"),
    outputs=("model_version", "champion", "decision", "reasons"),
)


def run(context: StepContext[PromoteStepConfig]) -> Mapping[str, str]:
    """Promote the release and return who is champion afterwards, and why."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        message = "MLFLOW_TRACKING_URI is not set, expected the address of the model registry"
        raise TrackingError(message)
    config = context.config
    guard = Guard(
        store=context.store,
        models=MlflowModels(open_client(uri), config.model_name),
        actor=config.actor,
        model=config.model_name,
        alias=config.alias,
        lease_seconds=config.lease_seconds,
    )
    release = context.parents["release"]
    incumbent = incumbent_at_first(context)
    outcome = guard.promote(release, context.parents["report"], commit=source_commit() or "")
    decision = whole_decision(outcome, release, incumbent)
    log_event(logger, "promotion_decided", **outcome.model_dump(mode="json"))
    context.tracker.log_params({"decision": decision, "model_version": outcome.version})
    return {
        "model_version": outcome.version,
        "champion": outcome.release,
        "decision": decision,
        "reasons": "\n".join(outcome.reasons),
    }


def incumbent_at_first(context: StepContext[PromoteStepConfig]) -> str:
    """Return the release that was champion when this step first began, empty text for none.

    A killed run of it may have moved the champion since.
    """
    path = context.scratch / "incumbent.txt"
    if not path.exists():
        champion = current_champion(context.store, context.config.model_name)
        draft = path.with_name(f".{path.name}")
        draft.write_text(champion.release if champion else "")
        draft.replace(path)
    return path.read_text()


def whole_decision(outcome: Outcome, release: str, incumbent: str) -> Decision:
    """Return what the step did, with what a killed run of it had done."""
    if outcome.decision == "already-champion" and incumbent != release:
        return "promoted"
    return outcome.decision
