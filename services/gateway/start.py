"""How a gateway is started: options and a settings file in, a running server out.

With `--fake` there is no Triton: an engine in this process draws patterns, and every answer says
so. It does not know routes or sessions.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from services.gateway.app import create_app
from services.gateway.backends import BackendConfig
from services.gateway.fake_engine import FakeEngine, FakeStore
from services.gateway.fake_session import FakeEngineConfig
from services.gateway.link import EngineLink
from services.gateway.parts import Parts, build_parts
from services.gateway.server import GatewayServer
from services.gateway.settings import SECRET_VARIABLE, GatewayConfig
from services.gateway.signature import secrets_in
from services.gateway.triton_link import TritonLink
from worldloom.config import apply_overrides, load_config
from worldloom.errors import ConfigError, WorldloomError
from worldloom.log import configure_logging, log_event

logger = logging.getLogger(__name__)

FAKE_ADDRESS = "fake:0"
_MIN_SECRET_LENGTH = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run a gateway; returns its exit code."""
    configure_logging()
    options = _options(argv)
    try:
        config = gateway_config(options.config, options.set, is_fake=options.fake)
        fake = apply_overrides(FakeEngineConfig(), options.fake_set) if options.fake else None
        server = make_server(config, fake)
    except WorldloomError as error:
        log_event(logger, "gateway_not_started", logging.ERROR, message=str(error))
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    log_event(
        logger,
        "gateway_started" if fake is None else "FAKE_gateway_started",
        address=f"http://{config.host}:{server.port}",
        auth=config.auth,
    )
    # What is imported lives for ever: the collector need not look at it in the middle of a frame.
    gc.collect()
    gc.freeze()
    server.run_until_stopped()
    return 0


def gateway_config(
    path: Path | None, overrides: Sequence[str], *, is_fake: bool = False
) -> GatewayConfig:
    """Return the settings of a file, with overrides; a fake one is open and has its backend."""
    config = GatewayConfig() if path is None else load_config(GatewayConfig, path.read_text())
    if is_fake:
        backends = (BackendConfig(address=FAKE_ADDRESS, model_version="fake"),)
        config = config.model_copy(update={"auth": "none", "backends": backends})
    return apply_overrides(config, overrides)


def make_server(config: GatewayConfig, fake: FakeEngineConfig | None = None) -> GatewayServer:
    """Return a server that listens already; `fake` replaces the engines."""
    secret = secret_of(config)

    def build() -> Parts:
        return build_parts(config, secret, _link_maker(fake))

    app = create_app(build, is_fake=fake is not None, is_open=config.auth == "none")
    return GatewayServer(app, config)


def secret_of(config: GatewayConfig) -> str:
    """Return the secrets that tokens are signed with, one a line.

    Raises:
        ConfigError: when there is none, or a short one, where keys are asked for.
    """
    text = os.environ.get(SECRET_VARIABLE, "")
    if not text and config.auth == "none":
        return secrets.token_hex(_MIN_SECRET_LENGTH)
    shortest = min(map(len, secrets_in(text)), default=0)
    if shortest < _MIN_SECRET_LENGTH:
        message = (
            f"{SECRET_VARIABLE} has a line of {shortest} characters, expected at least"
            f" {_MIN_SECRET_LENGTH}, the same for all replicas"
        )
        raise ConfigError(message)
    return text


def _link_maker(fake: FakeEngineConfig | None) -> Callable[[str], EngineLink]:
    if fake is None:
        return TritonLink
    store: FakeStore = {}
    return lambda _address: FakeEngine(fake, store)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.gateway", description=__doc__)
    parser.add_argument("--config", type=Path, help="JSON file of GatewayConfig")
    parser.add_argument("--port", type=int, help="the same as --set port=PORT")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="override one setting"
    )
    parser.add_argument(
        "--fake", action="store_true", help="draw patterns in this process instead of using Triton"
    )
    parser.add_argument(
        "--fake-set", action="append", default=[], metavar="PATH=VALUE",
        help="override one setting of the fake engine, such as frame_bytes=30000",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if options.port is not None:
        options.set = [f"port={options.port}", *options.set]
    return options
