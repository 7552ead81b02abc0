"""Backends behind a name: looked up again and again, added as they appear, drained as they go.

In a cluster the name of a headless service has one address for each pod that is ready. It does not
know what a backend serves.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Collection

from services.gateway.backends import BackendConfig, BackendPool
from services.gateway.retirement import Retirement
from worldloom.errors import ConfigError
from worldloom.log import log_event

logger = logging.getLogger(__name__)

SCHEME = "dns://"
Resolve = Callable[[str, int], Awaitable[Collection[str] | None]]


async def resolve(host: str, port: int) -> Collection[str] | None:
    """Return all addresses of a name as host:port, () for one that does not exist.

    None says that nobody answered: a resolver that is away is no reason to let engines go.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return None if error.errno == socket.EAI_AGAIN else ()
    return sorted({join_address(str(where[0]), port) for *_, where in found})


async def follow(
    named: BackendConfig,
    pool: BackendPool,
    retirement: Retirement,
    seconds: float,
    resolve_name: Resolve = resolve,
) -> None:
    """Keep the pool at what a name stands for, looked up every so many seconds; never returns."""
    host, port = split_name(named.address)
    known: set[str] = set()
    while True:
        answer = await resolve_name(host, port)
        found = known if answer is None else set(answer)
        for address in sorted(found - known):
            pool.add(named.model_copy(update={"address": address}))
        for address in sorted(known - found):
            backend = pool.get(address)
            if backend is not None:
                retirement.remove(backend)
        if found != known:
            log_event(logger, "name_resolved", name=named.address, addresses=sorted(found))
        known = found
        await asyncio.sleep(seconds)


def split_name(address: str) -> tuple[str, int]:
    """Return host and port of dns://host:port; raises `ConfigError`."""
    host, colon, port = address.removeprefix(SCHEME).rpartition(":")
    if not colon or not host or not port.isdigit():
        message = f"backend {address!r}: expected dns://host:port"
        raise ConfigError(message)
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return host:port, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
