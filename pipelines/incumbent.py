"""Which release a run has to beat: the champion, as the registry's audit log names it.

A run that would make the champion itself again is compared with the release that the champion
replaced, so that running an unchanged pipeline twice does nothing the second time. No server is
asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.registry import DEFAULT_ALIAS, DEFAULT_MODEL, current_champion
from worldloom.artifacts import is_digest
from worldloom.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.local import PreparedRun

AUTO = "auto"
NONE = "none"
_ARGUMENT = "champion"


def with_incumbent(prepared: PreparedRun, champion: str = AUTO) -> PreparedRun:
    """Return the run with its champion decided and planned.

    Args:
        prepared: the run.
        champion: a release's digest, `none`, or `auto` for the registry's champion.

    Raises:
        ConfigError: for another text, or a pipeline that compares with nothing.
        PromotionError: if the audit log was tampered with.
    """
    if _ARGUMENT not in prepared.definition.arguments:
        if champion == AUTO:
            return prepared
        message = f"champion {champion!r}: pipeline {prepared.definition.name} compares nothing"
        raise ConfigError(message)
    if champion == AUTO and prepared.request.arguments.get(_ARGUMENT):
        return prepared
    if champion == AUTO:
        digest = _incumbent(prepared)
    elif champion == NONE:
        digest = ""
    elif is_digest(champion):
        digest = champion
    else:
        message = f"champion {champion!r}: expected auto, none or a sha256: digest"
        raise ConfigError(message)
    if digest == prepared.arguments[_ARGUMENT]:
        return prepared
    return prepared.with_argument(_ARGUMENT, digest)


def _incumbent(prepared: PreparedRun) -> str:
    promote = prepared.configs.get("promote", {})
    model = str(promote.get("model_name", DEFAULT_MODEL))
    if promote.get("alias", DEFAULT_ALIAS) != DEFAULT_ALIAS:
        return ""
    record = current_champion(prepared.store, model)
    if record is None:
        return ""
    if record.release == prepared.plan.output("quantize", "release"):
        return record.predecessor_release
    return record.release
