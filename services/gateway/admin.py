"""The routes for those who run the gateway: which backends there are, and how they go.

They need an API key that is an admin's. It does not know how a backend is drained.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from services.contract import ErrorCode, SessionError
from services.gateway.auth import bearer_token
from services.gateway.backends import Backend, BackendConfig
from services.gateway.discovery import SCHEME
from services.gateway.parts import Parts
from services.gateway.routes import PartsOf
from services.gateway.settings import KeyConfig

router = APIRouter(prefix="/admin")


def admin_key(parts: PartsOf, authorization: Annotated[str | None, Header()] = None) -> KeyConfig:
    """Return the admin's key; raises `SessionError` `bad_key`."""
    key = parts.authority.key_of(bearer_token(authorization))
    if not key.is_admin:
        sentence = f"key {key.key_id} is no admin's, expected one with is_admin"
        raise SessionError(ErrorCode.BAD_KEY, sentence)
    return key


AdminKey = Annotated[KeyConfig, Depends(admin_key)]


class BackendAnswer(BaseModel):
    """One backend as the gateway sees it."""

    address: str
    model_version: str
    share: float
    release: str = Field(description="digest, empty while it has not answered")
    is_up: bool
    is_draining: bool
    num_slots: int
    num_free_slots: int
    num_sessions: int = Field(description="live ones of this gateway, the paused ones included")

    @classmethod
    def of(cls, backend: Backend, parts: Parts) -> BackendAnswer:
        """Return what is known of a backend."""
        slots = 0 if backend.description is None else backend.description.num_slots
        return cls(
            address=backend.address,
            model_version=backend.model_version,
            share=backend.share,
            release=backend.digest,
            is_up=backend.is_up,
            is_draining=backend.is_draining,
            num_slots=slots,
            num_free_slots=max(0, backend.num_free),
            num_sessions=len(parts.directory.on(backend.address)),
        )


class DrainRequest(BaseModel):
    """Which backend is to take no new sessions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    move_after_seconds: float | None = Field(
        None,
        ge=0,
        description="time after which its sessions are moved to others of its release, "
        "none for never",
    )


@router.get("/backends")
def list_backends(parts: PartsOf, _key: AdminKey) -> list[BackendAnswer]:
    """List the backends."""
    return [BackendAnswer.of(backend, parts) for backend in parts.pool]


@router.post("/backends", status_code=201)
async def add_backend(config: BackendConfig, parts: PartsOf, key: AdminKey) -> BackendAnswer:
    """Add a backend, or change a known one's version and share; it takes new sessions."""
    if config.address.startswith(SCHEME):
        sentence = f"{config.address}: names belong into the settings, expected host:port"
        raise SessionError(ErrorCode.BAD_MESSAGE, sentence)
    backend = parts.pool.add(config)
    _audit(parts, key, "add", config.address, model_version=config.model_version)
    return BackendAnswer.of(backend, parts)


@router.post("/backends/drain")
async def drain_backend(asked: DrainRequest, parts: PartsOf, key: AdminKey) -> BackendAnswer:
    """Give a backend no new sessions; those that it has finish there, or move after a time."""
    backend = _find(parts, asked.address)
    parts.retirement.drain(backend, asked.move_after_seconds)
    _audit(parts, key, "drain", asked.address)
    return BackendAnswer.of(backend, parts)


@router.delete("/backends", status_code=202)
async def remove_backend(
    parts: PartsOf,
    key: AdminKey,
    address: Annotated[str, Query()],
    move_after_seconds: Annotated[float | None, Query(ge=0)] = None,
) -> BackendAnswer:
    """Drain a backend and forget it once no session needs it."""
    backend = _find(parts, address)
    parts.retirement.remove(backend, move_after_seconds)
    _audit(parts, key, "remove", address)
    return BackendAnswer.of(backend, parts)


def _find(parts: Parts, address: str) -> Backend:
    backend = parts.pool.get(address)
    if backend is None:
        known = ", ".join(each.address for each in parts.pool) or "none"
        sentence = f"backend {address!r} is not known, expected one of: {known}"
        raise SessionError(ErrorCode.NO_BACKEND, sentence)
    return backend


def _audit(parts: Parts, key: KeyConfig, action: str, address: str, **fields: object) -> None:
    parts.audit.write("admin", key_id=key.key_id, action=action, address=address, **fields)
