"""What the server process is given: a fitting backend, the interpreter, the project."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services.inference import server
from services.inference.server import (
    InferenceServer,
    ServerConfig,
    model_refusal,
    prepare_backend,
    server_arguments,
    server_environment,
    triton_wheel,
)
from services.processes import free_port
from worldloom.errors import MachineError, ServingError

STUB = "triton_python_backend_stub"


def test_backend_gets_the_stub_of_this_python(tmp_path: Path) -> None:
    prepare_backend(triton_wheel(), tmp_path / "python")
    names = {path.name for path in (tmp_path / "python").iterdir()}
    assert names == {"libtriton_python.so", "triton_python_backend_utils.py", STUB}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    expected = triton_wheel() / "python_backend_stubs" / version / STUB
    assert (tmp_path / "python" / STUB).read_bytes() == expected.read_bytes()


def test_python_without_a_stub_is_refused(tmp_path: Path) -> None:
    stub = tmp_path / "python_backend_stubs" / "2.7" / STUB
    stub.parent.mkdir(parents=True)
    stub.write_bytes(b"")
    with pytest.raises(MachineError, match=r"has no Triton stub .* expected one of: 2\.7"):
        prepare_backend(tmp_path, tmp_path / "python")


def test_what_an_interpreter_keeps_beside_the_backend_is_left_there(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    backend = tmp_path / "wheel" / "backends" / "python"
    for path in (
        tmp_path / "wheel" / "python_backend_stubs" / version / STUB,
        backend / "libtriton_python.so",
        backend / "__pycache__" / "utils.cpython-311.pyc",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    prepare_backend(tmp_path / "wheel", tmp_path / "python")
    assert {path.name for path in (tmp_path / "python").iterdir()} == {"libtriton_python.so", STUB}


def test_environment_leads_to_interpreter_and_project() -> None:
    environment = server_environment(triton_wheel(), {"PATH": "/bin", "KEPT": "1"})
    assert environment["KEPT"] == "1"
    assert environment["PATH"] == f"{Path(sys.executable).parent}:/bin"
    project, site_packages = environment["PYTHONPATH"].split(":")
    assert (Path(project) / "services" / "contract.py").is_file()
    assert (Path(site_packages) / "numpy").is_dir()
    python, bundled = environment["LD_LIBRARY_PATH"].split(":")
    assert list(Path(python).glob("libpython3*.so*"))
    assert list(Path(bundled).glob("libtritonserver*"))


def test_python_without_a_shared_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.sysconfig, "get_config_var", lambda _name: "")
    with pytest.raises(MachineError, match="no shared library libpython"):
        server_environment(triton_wheel(), {})


def test_server_listens_on_loopback_and_loads_the_world_alone(tmp_path: Path) -> None:
    arguments = server_arguments(triton_wheel(), tmp_path, 1234, ServerConfig())
    assert {"--grpc-address=127.0.0.1", "--grpc-port=1234", "--load-model=world"} <= set(arguments)
    assert {"--model-control-mode=explicit", "--allow-http=false"} <= set(arguments)
    assert not [argument for argument in arguments[1:] if " " in argument]


def test_plain_calls_and_metrics_are_on_loopback_where_they_are_wanted(tmp_path: Path) -> None:
    config = ServerConfig(http_port=2345, metrics_port=3456)
    arguments = server_arguments(triton_wheel(), tmp_path, 1234, config)
    expected = {"--http-address=127.0.0.1", "--http-port=2345", "--allow-http=true"}
    expected |= {"--metrics-address=127.0.0.1", "--metrics-port=3456", "--allow-metrics=true"}
    assert expected <= set(arguments)


def test_refusal_is_read_from_this_start_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"event": "model_load_failed", "message": "an old one"}\n')
    offset = log.stat().st_size
    assert model_refusal(log, offset) == ""
    with log.open("a") as file:
        file.write('noise\n{"event": "model_load_failed", "message": "weights are missing"}\n')
    assert model_refusal(log, offset) == "weights are missing"


def test_stop_before_start_does_nothing(tmp_path: Path) -> None:
    config = ServerConfig(port=free_port())
    never = InferenceServer(tmp_path, config, log_path=tmp_path / "log")
    never.stop()
    assert not never.is_alive()
    assert never.pid is None


@pytest.mark.parametrize(("ending", "starts"), [("kill -ABRT $$", 2), ("exit 1", 1)])
def test_a_server_that_aborts_at_its_start_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, starts: int
) -> None:
    monkeypatch.setattr(server, "triton_wheel", lambda: tmp_path)
    monkeypatch.setattr(server, "prepare_backend", lambda *_: None)
    command = ("/bin/sh", "-c", f"echo began; {ending}")
    monkeypatch.setattr(server, "server_arguments", lambda *_: command)
    log = tmp_path / "log"
    with pytest.raises(ServingError, match="before it was ready"):
        InferenceServer(tmp_path, ServerConfig(port=free_port()), log_path=log).start()
    assert log.read_text().count("began") == starts
