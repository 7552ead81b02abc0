"""The gateway as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from websockets.sync.client import connect

from services import protocol
from services.gateway.settings import SECRET_VARIABLE, GatewayConfig
from services.gateway.start import gateway_config, secret_of
from worldloom.errors import ConfigError

COMMAND = [sys.executable, "-m", "services.gateway"]


def test_a_gateway_with_keys_needs_a_secret(monkeypatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "short")
    with pytest.raises(ConfigError, match="5 characters"):
        secret_of(GatewayConfig())
    monkeypatch.setenv(SECRET_VARIABLE, "s" * 32 + "\nthe former one\n")
    with pytest.raises(ConfigError, match="14 characters"):
        secret_of(GatewayConfig())
    monkeypatch.setenv(SECRET_VARIABLE, "")
    assert len(secret_of(GatewayConfig(auth="none"))) >= 32


def test_settings_come_from_a_file_and_overrides(tmp_path) -> None:
    path = tmp_path / "gateway.json"
    path.write_text('{"port": 9000, "drain_seconds": 5}')
    config = gateway_config(path, ["limits.resume_seconds=7"])
    assert (config.port, config.drain_seconds, config.limits.resume_seconds) == (9000, 5, 7)


@pytest.mark.slow
def test_a_wrong_setting_is_one_sentence(tmp_path) -> None:
    started = subprocess.run(
        [*COMMAND, "--set", "prot=1"], capture_output=True, text=True, check=False
    )
    assert started.returncode == 2
    assert "prot" in started.stderr.splitlines()[-1]
    assert "Traceback" not in started.stderr


@pytest.mark.slow
def test_sigterm_hands_sessions_over_and_exits_with_0() -> None:
    options = ["--fake", "--port", "0", "--set", "drain_seconds=0.2"]
    with subprocess.Popen([*COMMAND, *options], stderr=subprocess.PIPE, text=True) as process:
        lines = map(json.loads, process.stderr)
        started = next(line for line in lines if line["event"] == "FAKE_gateway_started")
        url = started["address"]
        answer = urllib.request.urlopen(f"{url}{protocol.WORLDS_PATH}")
        assert json.load(answer)["is_fake"]
        with connect(f"ws{url.removeprefix('http')}{protocol.SESSION_PATH}") as player:
            player.send('{"type": "open"}')
            assert json.loads(player.recv(timeout=20))["type"] == "ready"
            os.kill(process.pid, signal.SIGTERM)
            texts = [json.loads(data) for data in player if isinstance(data, str)]
            assert [text["type"] for text in texts] == ["notice", "error"]
            assert texts[1]["code"] == "shutting_down"
        assert process.wait(timeout=20) == 0
