"""The preflight of a Kubernetes cluster, by its API alone: nothing is created there.

It asks for the server's version, for what this user may do, for GPU nodes, and for the extensions
that the chart can use. It does not know the chart's values.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.checks.check import Check, State, passed

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

OLDEST_MINOR = 29
REQUEST_TIMEOUT_SECONDS = 4.0
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True)
class Right:
    """Something that installing or running the platform does."""

    verb: str
    group: str
    resource: str


RIGHTS = (
    Right("create", "apps", "deployments"),
    Right("create", "apps", "statefulsets"),
    Right("create", "batch", "jobs"),
    Right("create", "", "services"),
    Right("create", "", "configmaps"),
    Right("create", "", "secrets"),
    Right("create", "", "serviceaccounts"),
    Right("create", "", "persistentvolumeclaims"),
    Right("create", "networking.k8s.io", "networkpolicies"),
    Right("create", "policy", "poddisruptionbudgets"),
    Right("list", "", "pods"),
    Right("get", "", "pods/log"),
)


@dataclass(frozen=True)
class Extension:
    """An API group that a part of the platform uses."""

    group: str
    name: str
    use: str


EXTENSIONS = (
    Extension("keda.sh", "KEDA", "scaling by sessions; without it a fixed number of pods"),
    Extension("ray.io", "KubeRay", "ingestion and evaluation on many nodes"),
    Extension("argoproj.io", "Kubeflow Pipelines", "running pipelines on the cluster"),
    Extension("trainer.kubeflow.org", "Kubeflow Trainer", "training on many GPUs"),
    Extension("monitoring.coreos.com", "Prometheus operator", "collecting metrics"),
)


def config_file() -> Path | None:
    """Return the first kubectl configuration that exists."""
    named = os.environ.get("KUBECONFIG", "")
    paths = [Path(part) for part in named.split(os.pathsep) if part]
    paths = paths or [Path.home() / ".kube" / "config"]
    return next((path for path in paths if path.is_file()), None)


def check_cluster(*, namespace: str, context: str = "", needed: bool = False) -> list[Check]:
    """Run the preflight where a cluster is configured.

    Args:
        namespace: where the platform is to live.
        context: of the configuration; by default its current one.
        needed: whether having no cluster is a failure.
    """
    path = config_file()
    if path is None and not _SERVICE_ACCOUNT.exists():
        if not needed:
            return [passed("cluster", "none configured; the local profile needs none")]
        mend = "set KUBECONFIG, or write ~/.kube/config"
        return [Check("cluster", State.FAIL, "no configuration found", mend)]
    from kubernetes.config import ConfigException
    from urllib3.exceptions import HTTPError
    from yaml import YAMLError

    found = str(path or "service account")
    try:
        client = _connect(path, context)
    except (ConfigException, YAMLError) as error:
        sentence = str(error).splitlines()[0]
        return [Check("cluster config", State.FAIL, f"{found}: {sentence}", "mend or replace it")]
    checks = [passed("cluster config", found)]
    try:
        return checks + preflight(client, namespace)
    except HTTPError as error:
        host = client.configuration.host
        reason = str(error).splitlines()[0][:200]
        mend = "is the cluster up, and does this machine reach it?"
        return [*checks, Check("cluster api", State.FAIL, f"{host}: {reason}", mend)]


def preflight(client: ApiClient, namespace: str) -> list[Check]:
    """Ask the API server everything; raises `urllib3.exceptions.HTTPError` if it is not there."""
    return [
        _answered("cluster api", lambda: _version(client)),
        _answered("cluster namespace", lambda: _namespace(client, namespace)),
        _answered("cluster rights", lambda: _rights(client, namespace)),
        _answered("cluster gpus", lambda: _gpus(client)),
        *_extensions(client),
    ]


def _connect(path: Path | None, context: str) -> ApiClient:
    from kubernetes import client, config

    configuration = client.Configuration()
    if path is None:
        config.load_incluster_config(client_configuration=configuration)
    else:
        config.load_kube_config(
            config_file=str(path), context=context or None, client_configuration=configuration
        )
    configuration.retries = False
    return client.ApiClient(configuration)


def _answered(name: str, ask: Callable[[], Check]) -> Check:
    """Turn the API's refusal into a check."""
    from kubernetes.client import ApiException

    try:
        return ask()
    except ApiException as error:
        mend = "log in again" if error.status == 401 else "ask the cluster's administrator"
        return Check(name, State.FAIL, f"refused: {error.status} {error.reason}", mend)


def _version(client: ApiClient) -> Check:
    from kubernetes.client import VersionApi

    info = VersionApi(client).get_code(_request_timeout=REQUEST_TIMEOUT_SECONDS)
    minor = int("".join(filter(str.isdigit, info.minor)) or 0)
    found = f"{info.git_version} at {client.configuration.host}"
    if (int(info.major), minor) < (1, OLDEST_MINOR):
        return Check("cluster api", State.FAIL, found, f"1.{OLDEST_MINOR} or later is needed")
    return passed("cluster api", found)


def _namespace(client: ApiClient, namespace: str) -> Check:
    from kubernetes.client import ApiException, CoreV1Api

    try:
        CoreV1Api(client).read_namespace(namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS)
    except ApiException as error:
        if error.status != 404:
            raise
        mend = f"kubectl create namespace {namespace}"
        return Check("cluster namespace", State.FAIL, f"no namespace {namespace}", mend)
    return passed("cluster namespace", namespace)


def _rights(client: ApiClient, namespace: str) -> Check:
    denied = [right for right in RIGHTS if not _may(client, namespace, right)]
    if not denied:
        return passed("cluster rights", f"all {len(RIGHTS)} that are needed in {namespace}")
    listed = ", ".join(f"{right.verb} {right.resource}" for right in denied)
    mend = f"bind a role that allows it in namespace {namespace}"
    return Check("cluster rights", State.FAIL, f"may not: {listed}", mend)


def _may(client: ApiClient, namespace: str, right: Right) -> bool:
    from kubernetes.client import (
        AuthorizationV1Api,
        V1ResourceAttributes,
        V1SelfSubjectAccessReview,
        V1SelfSubjectAccessReviewSpec,
    )

    resource, _, subresource = right.resource.partition("/")
    attributes = V1ResourceAttributes(
        namespace=namespace,
        verb=right.verb,
        group=right.group,
        resource=resource,
        subresource=subresource or None,
    )
    spec = V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    review = AuthorizationV1Api(client).create_self_subject_access_review(
        V1SelfSubjectAccessReview(spec=spec), _request_timeout=REQUEST_TIMEOUT_SECONDS
    )
    return bool(review.status.allowed)


def _gpus(client: ApiClient) -> Check:
    from kubernetes.client import ApiException, CoreV1Api

    try:
        nodes = CoreV1Api(client).list_node(_request_timeout=REQUEST_TIMEOUT_SECONDS).items
    except ApiException as error:
        if error.status != 403:
            raise
        mend = "allow this user to list nodes, or look yourself: kubectl get nodes"
        return Check("cluster gpus", State.WARN, "this user may not list nodes", mend)
    counts = {
        node.metadata.name: int((node.status.allocatable or {}).get("nvidia.com/gpu", "0"))
        for node in nodes
    }
    with_gpus = {name: count for name, count in counts.items() if count}
    if with_gpus:
        found = f"{sum(with_gpus.values())} on {len(with_gpus)} of {len(counts)} nodes"
        return passed("cluster gpus", found)
    mend = "add GPU nodes with the device plugin; serving and training then use the CPU"
    return Check("cluster gpus", State.WARN, f"none on {len(counts)} nodes", mend)


def _extensions(client: ApiClient) -> list[Check]:
    from kubernetes.client import ApiException, ApisApi

    try:
        listing = ApisApi(client).get_api_versions(_request_timeout=REQUEST_TIMEOUT_SECONDS)
    except ApiException as error:
        found = f"refused: {error.status} {error.reason}"
        return [Check("cluster extensions", State.WARN, found, "allow API discovery")]
    served = {group.name: group.preferred_version.version for group in listing.groups}
    checks = []
    for extension in EXTENSIONS:
        name = f"{extension.name} (optional)"
        if extension.group in served:
            checks.append(passed(name, f"{extension.group}/{served[extension.group]}"))
        else:
            checks.append(Check(name, State.WARN, "not installed", f"for {extension.use}"))
    return checks
