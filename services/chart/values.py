"""Every value of the chart `helm/worldloom`: meaning, unit, default and limit, said once.

`services.chart.files` makes `values.yaml`, `values.schema.json` and the table of the chart's README
from these classes, so that Helm refuses what they refuse. Keys are written in camelCase, Helm's
habit; `inference.engine` is the engine's own configuration and keeps the names it has there. This
module does not know the templates.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.chart.gateway import Gateway
from services.chart.terms import (
    Address,
    Amounts,
    ChartConfig,
    Image,
    ImageDigest,
    Label,
    Name,
    Peer,
    Quantity,
    Resources,
    Storage,
    Toleration,
    UserId,
)
from services.chart.watching import Autoscaling, Monitoring
from services.inference.engine_config import EngineConfig

ReleaseUri = Annotated[
    str,
    StringConstraints(pattern=r"^(s3://[a-z0-9][a-z0-9./_-]*/artifacts/[0-9a-f]{64})?$"),
]
ReleaseVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,63}$")]


class Candidate(ChartConfig):
    """A release that a share of the new sessions tries, on pods of its own."""

    uri: ReleaseUri = Field("", description="address of the artifact; empty: no candidate")
    digest: ImageDigest = Field("", description="digest of the artifact, verified before serving")
    version: ReleaseVersion = Field("", description="its version in the registry")
    share: float = Field(
        0.1, ge=0, le=1, description="share of new sessions; 0: those that name it alone"
    )
    replicas: int = Field(1, ge=1, description="pods, one a device")


class ServedRelease(ChartConfig):
    """Which release is served: what the registry calls the version's source, and its digest."""

    uri: ReleaseUri = Field(
        "",
        description="address of the artifact, s3://<bucket>/<prefix>/artifacts/<64 hex digits>",
    )
    digest: ImageDigest = Field("", description="digest of the artifact, verified before serving")
    version: ReleaseVersion = Field(
        "", description="its version in the registry, by which sessions may ask for it"
    )
    candidate: Candidate = Field(Candidate(), description="a release on trial beside it")


class SeaweedStore(ChartConfig):
    """The S3 server that the chart brings; one pod, for small installations."""

    image: Image = Field(Image(), description="image of SeaweedFS")
    user: UserId = Field(1000, description="user and group id of the process")
    storage: Storage = Field(Storage(size="50Gi"), description="volume of the objects")
    resources: Resources = Field(
        Resources(
            requests=Amounts(cpu="250m", memory="512Mi"), limits=Amounts(cpu="2", memory="2Gi")
        ),
        description="CPU and memory of the pod",
    )


class Store(ChartConfig):
    """The S3 store of artifacts."""

    kind: Literal["seaweedfs", "external"] = Field(
        "seaweedfs", description="the chart's own SeaweedFS, or an S3 that exists"
    )
    endpoint: str = Field(
        "", pattern=r"^(https?://[^/\s]+)?$", description="address of the external S3"
    )
    region: str = Field(
        "us-east-1", min_length=1, description="region that requests are signed for"
    )
    bucket: str = Field(
        "worldloom",
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="bucket; made by the chart in its own store",
    )
    credentials_secret: Name = Field(
        "",
        description="existing secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
        "must be given",
    )
    seaweedfs: SeaweedStore = Field(SeaweedStore(), description="the chart's own store")


class Gpu(ChartConfig):
    """What a pod on a GPU needs; not used on CPUs."""

    resource_name: str = Field(
        "nvidia.com/gpu", min_length=1, description="resource of which each pod takes one"
    )
    runtime_class_name: Name = Field("", description="runtime class; empty: the node's default")


class SessionStore(ChartConfig):
    """Where sessions outlive their pod: `sessions/` in the store's bucket."""

    enabled: bool = Field(True, description="whether the engines write their sessions' state")
    prefix: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9/_-]*)?$",
        description="prefix in store.bucket; engines of one prefix take each other's sessions over",
    )


class Inference(ChartConfig):
    """The inference servers: Triton, one pod a device."""

    enabled: bool = Field(True, description="whether a release is served")
    image: Image = Field(Image(), description="image built from infra/images/inference.Dockerfile")
    user: UserId = Field(1000, description="user and group id of the processes")
    device: Literal["cpu", "gpu"] = Field("cpu", description="what one pod serves on")
    gpu: Gpu = Field(Gpu(), description="the GPU, where device is gpu")
    replicas: int = Field(1, ge=0, description="pods, one a device")
    num_threads: int = Field(2, ge=1, description="torch threads of the model's process")
    engine: EngineConfig = Field(EngineConfig(), description="limits of the engine in each pod")
    startup_seconds: int = Field(
        300, ge=10, description="time that loading and warming up may take, seconds"
    )
    drain_seconds: int = Field(
        3600,
        ge=0,
        description="longest wait of a pod that ends for the sessions on it, seconds; without "
        "sessions it ends at once",
    )
    handover_seconds: int = Field(
        30, ge=5, description="time to hand over the sessions that are left then, seconds"
    )
    session_store: SessionStore = Field(SessionStore(), description="state that outlives a pod")
    shared_memory: Quantity = Field(
        "1Gi", description="size of /dev/shm, through which Triton talks to the model"
    )
    release_storage: Quantity = Field(
        "2Gi", description="room for the fetched release on the node's disk"
    )
    resources: Resources = Field(
        Resources(requests=Amounts(cpu="2", memory="4Gi"), limits=Amounts(cpu="2", memory="8Gi")),
        description="CPU and memory of the server",
    )
    max_unavailable: int = Field(
        1, ge=1, description="pods that a node's maintenance may take away at once"
    )
    node_labels: tuple[Label, ...] = Field((), description="labels of the nodes that may serve")
    tolerations: tuple[Toleration, ...] = Field((), description="taints that the pods accept")
    clients: tuple[Peer, ...] = Field(
        (Peer(pod_labels=(Label(key="worldloom.inference-client", value="true"),)),),
        description="pods that may open streams",
    )


class Database(ChartConfig):
    """Where MLflow keeps runs and the registry."""

    kind: Literal["sqlite", "postgres"] = Field(
        "sqlite", description="a file on MLflow's volume, or a Postgres that exists"
    )
    secret: Name = Field(
        "",
        description="existing secret with the key uri, postgresql://user:password@host:5432/name",
    )
    addresses: tuple[Address, ...] = Field(
        (), description="where Postgres is, for the network policy"
    )


class Mlflow(ChartConfig):
    """The tracking server and model registry."""

    enabled: bool = Field(True, description="whether the chart brings MLflow")
    image: Image = Field(Image(), description="image built from infra/images/mlflow.Dockerfile")
    user: UserId = Field(1000, description="user and group id of the process")
    database: Database = Field(Database(), description="runs and registry")
    storage: Storage = Field(Storage(), description="volume of plots, videos and the SQLite file")
    resources: Resources = Field(
        Resources(
            requests=Amounts(cpu="250m", memory="1Gi"), limits=Amounts(cpu="2", memory="2Gi")
        ),
        description="CPU and memory of the server",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="further host names that clients use, beside the service's own"
    )
    clients: tuple[Peer, ...] = Field(
        (Peer(pod_labels=(Label(key="worldloom.mlflow-client", value="true"),)),),
        description="pods that may talk to the tracking server",
    )


class NetworkPolicy(ChartConfig):
    """Nothing is reachable but what is named."""

    store_clients: tuple[Peer, ...] = Field(
        (Peer(pod_labels=(Label(key="worldloom.store-client", value="true"),)),),
        description="further pods that may talk to the chart's own store, such as pipeline tasks",
    )
    store_addresses: tuple[Address, ...] = Field((), description="where the external S3 is")
    dns: Peer = Field(
        Peer(
            pod_labels=(Label(key="k8s-app", value="kube-dns"),),
            namespace_labels=(Label(key="kubernetes.io/metadata.name", value="kube-system"),),
        ),
        description="pods that resolve names",
    )


class ChartValues(ChartConfig):
    """All values of the chart."""

    image_pull_secrets: tuple[Name, ...] = Field(
        (), description="existing secrets for fetching the images"
    )
    release: ServedRelease = Field(ServedRelease(), description="what is served")
    store: Store = Field(Store(), description="S3 store of artifacts")
    inference: Inference = Field(Inference(), description="inference servers")
    autoscaling: Autoscaling = Field(Autoscaling(), description="number of inference pods")
    gateway: Gateway = Field(Gateway(), description="door for players")
    monitoring: Monitoring = Field(Monitoring(), description="who reads the metrics")
    mlflow: Mlflow = Field(Mlflow(), description="tracking server and model registry")
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="allowed connections")
