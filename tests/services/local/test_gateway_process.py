"""A real gateway process, with a fake engine: started, asked by its admin routes, killed, again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from services.gateway.settings import GatewayConfig
from services.local.admin import GatewayAdmin
from services.local.gateway_process import GatewayProcess, kept_secret
from services.processes import ProcessIdentity, free_port
from worldloom.errors import MachineError, ServingError


def settings() -> GatewayConfig:
    return GatewayConfig(port=free_port(), auth="none", drain_seconds=0.0)


@pytest.mark.slow
def test_it_answers_is_killed_and_answers_again_at_the_same_address(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, settings(), fake=["num_slots=3"])
    with gateway:
        [backend] = GatewayAdmin(gateway.url).backends()
        assert (backend.address, backend.model_version) == ("fake:0", "fake")
        first = ProcessIdentity.of(gateway.pid)
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.stop()
        assert not gateway.is_alive()
        assert gateway.pid_or_none is None
        assert not gateway.is_answering()
        gateway.start()
        assert gateway.is_answering()
        assert ProcessIdentity.of(gateway.pid) != first
    assert not gateway.is_alive()
    assert "FAKE_gateway_started" in gateway.log_path.read_text()


@pytest.mark.slow
def test_backends_come_and_go_by_the_admin_routes(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with GatewayProcess(tmp_path, settings(), fake=[]) as gateway:
        admin = GatewayAdmin(gateway.url)
        added = admin.add(nobody, model_version="7", share=0.5)
        assert (added.address, added.model_version, added.share) == (nobody, "7", 0.5)
        assert admin.drain(nobody).is_draining
        admin.remove(nobody)
        with pytest.raises(ServingError, match=r"refused POST /admin/backends/drain \(503\)"):
            admin.drain("127.0.0.1:1")
    with pytest.raises(ServingError, match="does not answer to GET /admin/backends"):
        admin.backends()


@pytest.mark.slow
def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = settings()
    with GatewayProcess(tmp_path / "first", config, fake=[]):
        second = GatewayProcess(tmp_path / "second", config, fake=[])
        with pytest.raises(MachineError, match=f"port {config.port} .* the gateway needs it"):
            second.start()
        assert not second.log_path.exists()


def test_the_secret_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    secret = kept_secret(tmp_path)
    assert kept_secret(tmp_path) == secret
    assert len(secret) == 64
    assert (tmp_path / "gateway.secret").stat().st_mode & 0o077 == 0
    assert kept_secret(tmp_path / "other") != secret
