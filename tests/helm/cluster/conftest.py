"""A real Kubernetes control plane on this machine: etcd, API server and controllers, no node.

Its programs are built by `make test-cluster`; without them the tests here are skipped.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest
import yaml

from services.processes import LOOPBACK, ManagedProcess, free_port

BUILT = Path(__file__).parents[3] / "out" / "cluster"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
TOKEN = "token-of-the-tests"
START_SECONDS = 120.0
Object = dict[str, Any]


class Cluster:
    """The API server as its administrator sees it."""

    def __init__(self, address: str, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self._api = httpx.Client(base_url=address, headers=headers, verify=False, timeout=30)
        self._plurals: dict[str, dict[str, str]] = {}

    def is_ready(self) -> bool:
        try:
            return self._api.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def create(self, manifest: Object, namespace: str = "", *, dry_run: bool = False) -> str:
        """Create an object; return what the server says against it, in its own words."""
        options = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        path = self._path(manifest["apiVersion"], manifest["kind"], namespace)
        answer = self._api.post(path, json=manifest, params=options)
        return "" if answer.is_success else str(answer.json()["message"])

    def patch(self, api: str, kind: str, namespace: str, name: str, change: Object) -> None:
        content = {"Content-Type": "application/merge-patch+json"}
        path = f"{self._path(api, kind, namespace)}/{name}"
        self._api.patch(path, content=json.dumps(change), headers=content).raise_for_status()

    def list(self, api: str, kind: str, namespace: str) -> list[Object]:
        answer = self._api.get(self._path(api, kind, namespace))
        found: list[Object] = answer.raise_for_status().json()["items"]
        return found

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {START_SECONDS:.0f} s"
            time.sleep(0.2)

    def _path(self, api: str, kind: str, namespace: str) -> str:
        root = f"/apis/{api}" if "/" in api else f"/api/{api}"
        if kind not in self._plurals.get(api, {}):
            resources = self._api.get(root).raise_for_status().json()["resources"]
            self._plurals[api] = {
                found["kind"]: found["name"] for found in resources if "/" not in found["name"]
            }
        plural = self._plurals[api][kind]
        return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    missing = [name for name in PROGRAMS if not (BUILT / "bin" / name).exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not built here; `make test-cluster` builds them")
    with ExitStack() as running:
        started = _start(tmp_path_factory.mktemp("cluster"), running)
        for path in sorted((BUILT / "definitions").glob("*.yaml")):
            assert started.create(yaml.safe_load(path.read_text())) == ""
        yield started


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """Return a new namespace whose pods must keep Kubernetes' strictest standard."""
    name = f"worlds-{abs(hash(request.node.name)) % 10**8}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    assert cluster.create(manifest) == ""
    cluster.wait_for("service account", lambda: bool(cluster.list("v1", "ServiceAccount", name)))
    return name


@pytest.fixture
def helm(cluster: Cluster, namespace: str) -> Iterator[helm_python.Config]:
    config = helm_python.Config(kubeconfig_path=cluster.kubeconfig, namespace=namespace)
    yield config
    config.close()


def _start(folder: Path, running: ExitStack) -> Cluster:
    etcd, peers, port, controllers = (free_port() for _ in range(4))
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    address = f"https://{LOOPBACK}:{port}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(address)))
    etcd_address = f"http://{LOOPBACK}:{etcd}"
    cluster = Cluster(address, kubeconfig)
    store = _run(
        folder, running, "etcd",
        f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync",
        f"--listen-client-urls={etcd_address}", f"--advertise-client-urls={etcd_address}",
        f"--listen-peer-urls=http://{LOOPBACK}:{peers}",
    )  # fmt: skip
    store.wait_until(lambda: _answers(f"{etcd_address}/health"), START_SECONDS)
    server = _run(
        folder, running, "kube-apiserver",
        f"--etcd-servers={etcd_address}", f"--cert-dir={folder / 'certificates'}",
        f"--bind-address={LOOPBACK}", f"--secure-port={port}", "--endpoint-reconciler-type=none",
        f"--token-auth-file={folder / 'tokens.csv'}", "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://cluster.local",
        f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
    )  # fmt: skip
    server.wait_until(cluster.is_ready, START_SECONDS)
    _run(
        folder, running, "kube-controller-manager",
        f"--kubeconfig={kubeconfig}", f"--bind-address={LOOPBACK}", f"--secure-port={controllers}",
        "--leader-elect=false", "--use-service-account-credentials",
        f"--service-account-private-key-file={key}",
    )  # fmt: skip
    return cluster


def _run(folder: Path, running: ExitStack, name: str, *arguments: str) -> ManagedProcess:
    program = str(BUILT / "bin" / name)
    process = ManagedProcess(name, [program, *arguments], None, folder / f"{name}.log")
    running.enter_context(process)
    return process


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


def _kubeconfig(address: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [
            {"name": "tests", "cluster": {"server": address, "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "tests", "user": {"token": TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
    }
