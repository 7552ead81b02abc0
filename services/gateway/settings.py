"""The gateway's settings: one frozen object, read from a JSON file and dotted overrides.

Secrets are not in it: they come from the environment, as digests or names of variables. It knows
the settings of the gateway's parts and none of the parts.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from services.gateway.backends import BackendConfig
from worldloom.config import Config

SECRET_VARIABLE = "WORLDLOOM_GATEWAY_SECRET"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class KeyConfig(Config):
    """One API key and what it may do; the key itself is not kept."""

    key_id: str = Field(min_length=1, max_length=64, description="name in logs and metrics")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the key, hexadecimal")
    is_admin: bool = Field(False, description="whether it may use /admin")
    releases: tuple[str, ...] = Field(
        (), description="digests or versions that it may use, all when empty"
    )
    max_sessions: int = Field(16, ge=1, description="sessions at once, those that wait included")
    max_sessions_per_hour: int = Field(1000, ge=1, description="sessions opened in an hour")
    max_messages_per_second: float = Field(
        2000.0, gt=0, description="messages a second, of all its sessions together"
    )


class SessionLimits(Config):
    """How long things in a session may take, and how much may wait."""

    max_session_seconds: float = Field(3600.0, gt=0, description="age that ends a session, seconds")
    max_idle_seconds: float = Field(110.0, gt=0, description="silence that ends one, seconds")
    notice_seconds: float = Field(15.0, ge=0, description="warning before either, seconds")
    open_seconds: float = Field(10.0, gt=0, description="wait for a first message, seconds")
    ready_seconds: float = Field(30.0, gt=0, description="wait for an engine to be ready, seconds")
    resume_seconds: float = Field(60.0, gt=0, description="wait of a dropped session, seconds")
    recover_seconds: float = Field(
        30.0, gt=0, description="time in which a lost engine may come back, seconds"
    )
    stuck_seconds: float = Field(
        20.0, gt=0, description="time in which a player must take something, seconds"
    )
    late_seconds: float = Field(
        1.0, gt=0, description="wait after which a frame is late, where late ones are dropped"
    )
    max_late_frames: int = Field(
        64, ge=1, description="frames that may wait, where late ones are dropped"
    )
    max_kept_actions: int = Field(
        8192, ge=1, description="actions a session that are kept to bring it back, in frames"
    )
    max_message_bytes: int = Field(
        256 * 1024, ge=1024, description="of a message in a session; the first may have 4 MiB"
    )


class GatewayConfig(Config):
    """Everything that can be set."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="HTTP and WebSocket port, 0 for any")
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="port of the KServe v2 gRPC pass-through, none for none"
    )
    auth: Literal["keys", "none"] = Field(
        "keys", description="none lets everybody in, and is for the loopback interface alone"
    )
    keys: tuple[KeyConfig, ...] = Field((), description="API keys, as digests")
    token_seconds: float = Field(60.0, gt=0, description="life of a token, seconds")
    issuer: str = Field("worldloom", description="issuer of its tokens")
    backends: tuple[BackendConfig, ...] = Field((), description="engines to begin with")
    health_seconds: float = Field(1.0, gt=0, description="how often backends are asked, seconds")
    resolve_seconds: float = Field(
        5.0, gt=0, description="how often names of backends are looked up, seconds"
    )
    max_queued_sessions: int = Field(100, ge=0, description="sessions that may wait for a slot")
    queue_seconds: float = Field(60.0, gt=0, description="longest wait for a slot, seconds")
    limits: SessionLimits = Field(SessionLimits(), description="limits of one session")
    anonymous: KeyConfig = Field(
        KeyConfig(key_id="anonymous", sha256="0" * 64, is_admin=True, max_sessions=1000,
                  max_sessions_per_hour=1_000_000, max_messages_per_second=100_000.0),
        description="quota of everybody, without keys",
    )  # fmt: skip
    drain_seconds: float = Field(30.0, ge=0, description="time to finish on SIGTERM, seconds")
    otlp_endpoint: str | None = Field(
        None, description="URL of an OTLP collector for traces, none for no traces"
    )
    audit_path: str | None = Field(
        None, description="file of the audit log, none for the process's own log"
    )
    refused_words: tuple[str, ...] = Field(
        (), description="words that a prompt may not have; for a real check, plug one in"
    )
    moderation_seconds: float = Field(
        2.0, gt=0, description="time for the check of a prompt or image, after which it is refused"
    )

    @model_validator(mode="after")
    def _open_to_this_machine_alone(self) -> GatewayConfig:
        if self.auth == "none" and self.host not in LOOPBACK_HOSTS:
            message = (
                f"auth is none and host is {self.host!r}: a gateway without keys listens on"
                f" {', '.join(sorted(LOOPBACK_HOSTS))} alone"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _key_ids_differ(self) -> GatewayConfig:
        names = [key.key_id for key in self.keys]
        if len(set(names)) != len(names):
            message = f"two keys have one key_id, expected different ones: {sorted(names)}"
            raise ValueError(message)
        return self
