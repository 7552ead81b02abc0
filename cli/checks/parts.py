"""The installed parts: the store, tracking, serving, ViZDoom, and what is optional.

It imports neither torch nor MLflow, so that it answers at once.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.checks.check import Check, State, passed
from services.tracking_server import TrackingFolder, answers, running_server
from worldloom.errors import MachineError, WorldloomError
from worldloom.store import open_store

_PROBE = "A folder that `worldloom doctor` stores and reads back to see whether the store works.\n"
_RECORD = "doctor/probe.json"
_LOCK_MEND = "install the packages of requirements/lock.txt again"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def check_store(uri: str) -> list[Check]:
    """Store an artifact and a record and read both back."""
    started = time.monotonic()
    try:
        store = open_store(uri)
        with TemporaryDirectory() as folder:
            (Path(folder) / "probe.txt").write_text(_PROBE, encoding="ascii")
            digest = store.put(Path(folder), kind="evaluation-report", config={}, parents={})
        store.fetch(digest)
        stamp = {"time": time.time(), "process": os.getpid()}
        store.put_record(_RECORD, stamp)
        if store.get_record(_RECORD) != stamp:
            found = f"{uri}: a record that was written reads back differently"
            return [Check("store", State.FAIL, found, "use a store that is consistent")]
    except WorldloomError as error:
        mend = "see WORLDLOOM_STORE; for S3 also AWS_ENDPOINT_URL and its two keys"
        return [Check("store", State.FAIL, str(error), mend)]
    return [passed("store", f"{uri}, written and read in {time.monotonic() - started:.2f} s")]


def check_tracking(home: Path, given_uri: str) -> list[Check]:
    """Check MLflow's database and its server."""
    database = _check_database(TrackingFolder(home))
    if given_uri:
        return [database, _check_given_server(given_uri)]
    uri = running_server(home)
    found = f"answers at {uri}" if uri else "not running; started when it is needed"
    return [database, passed("tracking server", found)]


def check_serving(
    find_wheel: Callable[[], Path] | None = None, numpy_version: str | None = None
) -> list[Check]:
    """Check that the server binary is there and fits this Python and its numpy."""
    from services.inference.server import prepare_backend, server_environment, triton_wheel

    checks = []
    try:
        wheel = (find_wheel or triton_wheel)()
        binary = wheel / "bin" / "tritonserver"
        if not os.access(binary, os.X_OK):
            return [Check("tritonserver", State.FAIL, f"{binary} cannot be run", _LOCK_MEND)]
        with TemporaryDirectory() as folder:
            prepare_backend(wheel, Path(folder) / "python")
        server_environment(wheel, os.environ)
        checks.append(passed("tritonserver", f"{binary}, stub for Python {_python()}"))
    except MachineError as error:
        checks.append(Check("tritonserver", State.FAIL, str(error), _LOCK_MEND))
    numpy = numpy_version or version("numpy")
    if int(numpy.split(".")[0]) < 2:
        checks.append(passed("serving numpy", numpy))
    else:
        mend = "the server's Python stub dies with numpy 2 at the first request: install numpy<2"
        checks.append(Check("serving numpy", State.FAIL, numpy, mend))
    return checks


def check_vizdoom() -> list[Check]:
    """Check that the game engine can be imported."""
    try:
        importlib.import_module("vizdoom")
        return [passed("vizdoom", version("vizdoom"))]
    except (ImportError, PackageNotFoundError) as error:
        mend = f"{_LOCK_MEND}; without it only procedural worlds can be captured"
        return [Check("vizdoom", State.FAIL, f"cannot be imported ({error})", mend)]


def check_chromium() -> list[Check]:
    """Look for a browser, which only tests of the viewer use."""
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found:
        return [passed("chromium (optional)", found)]
    return [Check("chromium (optional)", State.WARN, "none", "apt-get install chromium")]


def check_captions() -> list[Check]:
    """Look for a vision-language model that writes prompts; templates do without."""
    name = "vLLM (optional)"
    endpoint = os.environ.get("OPENAI_BASE_URL")
    if endpoint:
        return [passed(name, f"prompts by {endpoint}")]
    if importlib.util.find_spec("vllm") is not None:
        return [passed(name, version("vllm"))]
    mend = "prompts come from templates; set OPENAI_BASE_URL to a server for better ones"
    return [Check(name, State.WARN, "none", mend)]


def _check_database(folder: TrackingFolder) -> Check:
    if not folder.database.exists():
        return passed("tracking database", "none yet; made when it is needed")
    try:
        address = f"{folder.database.as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            row = connection.execute("select version_num from alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        mend = "stop its server, put the file aside, and a new one is made"
        return Check("tracking database", State.FAIL, f"{folder.database}: {error}", mend)
    return passed("tracking database", f"{folder.database}, schema {row[0]}")


def _check_given_server(uri: str) -> Check:
    if answers(uri):
        return passed("tracking server", f"answers at {uri}")
    mend = "start it, or unset MLFLOW_TRACKING_URI to use the local one"
    return Check("tracking server", State.FAIL, f"{uri} does not answer", mend)


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
