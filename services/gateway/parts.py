"""The parts that every session of one gateway shares, built once.

It knows how they are put together and nothing of what a session does with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.admission import Admission
from services.gateway.audit import AuditLog
from services.gateway.auth import Authority
from services.gateway.backends import BackendPool
from services.gateway.directory import Directory
from services.gateway.link import EngineLink
from services.gateway.metrics import Metrics
from services.gateway.moderation import AllowAll, DeniedWords, Moderator
from services.gateway.quota import Quota
from services.gateway.resume_token import ResumeTokens
from services.gateway.retirement import Retirement
from services.gateway.settings import GatewayConfig
from services.gateway.tracing import Tracing


@dataclass(frozen=True)
class Parts:
    """What sessions share."""

    config: GatewayConfig
    pool: BackendPool
    admission: Admission
    authority: Authority
    quota: Quota
    resume_tokens: ResumeTokens
    directory: Directory
    retirement: Retirement
    metrics: Metrics
    audit: AuditLog
    tracing: Tracing
    moderator: Moderator


def build_parts(
    config: GatewayConfig,
    secret: str,
    make_link: Callable[[str], EngineLink],
    moderator: Moderator | None = None,
    tracing: Tracing | None = None,
) -> Parts:
    """Put a gateway's parts together; needs a running event loop."""
    metrics = Metrics()
    pool = BackendPool(make_link, config.health_seconds)
    limits = config.limits
    directory = Directory(metrics, limits.resume_seconds)
    if moderator is None:
        words = config.refused_words
        moderator = DeniedWords(words) if words else AllowAll()
    return Parts(
        config=config,
        pool=pool,
        admission=Admission(pool, config.max_queued_sessions, config.queue_seconds),
        authority=Authority(config, secret, time.time),
        quota=Quota(time.monotonic),
        resume_tokens=ResumeTokens(
            secret, limits.max_session_seconds + limits.resume_seconds, time.time
        ),
        directory=directory,
        retirement=Retirement(pool, directory),
        metrics=metrics,
        audit=AuditLog(config.audit_path),
        tracing=tracing or _tracing(config),
        moderator=moderator,
    )


def _tracing(config: GatewayConfig) -> Tracing:
    if config.otlp_endpoint is None:
        return Tracing()
    return Tracing.to_collector(config.otlp_endpoint)
