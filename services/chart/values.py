"""Every value of the chart `helm/worldloom`: meaning, unit, default and limit, said once.

`services.chart.files` makes `values.yaml`, `values.schema.json` and the table of the chart's README
from these classes, so that Helm refuses what they refuse. Keys are written in camelCase, Helm's
habit; `inference.engine` is the engine's own configuration and keeps the names it has there. This
module does not know the templates.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from services.inference.engine import EngineConfig
from worldloom.config import Config

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$")]
ImageDigest = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Name = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?$")]
UserId = Annotated[int, Field(ge=1, le=4294967294)]
Port = Annotated[int, Field(ge=1, le=65535)]


class ChartConfig(Config):
    """A part of the values; its keys are the fields' names in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Image(ChartConfig):
    """One container image, by digest: a tag can change under a running release."""

    repository: str = Field("", description="host and path of the image; must be given")
    digest: ImageDigest = Field("", description="sha256:<64 hex digits>; must be given")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        "IfNotPresent", description="when the node fetches it"
    )


class Amounts(ChartConfig):
    """CPU and memory."""

    cpu: Quantity = Field("1", description="CPUs, Kubernetes quantity")
    memory: Quantity = Field("1Gi", description="memory, Kubernetes quantity")


class Resources(ChartConfig):
    """What a container asks for and what it may use."""

    requests: Amounts = Field(Amounts(), description="what the scheduler reserves")
    limits: Amounts = Field(Amounts(), description="what the container may use")


class Storage(ChartConfig):
    """One persistent volume."""

    size: Quantity = Field("10Gi", description="size of the volume, Kubernetes quantity")
    class_name: Name = Field("", description="storage class; empty: the cluster's default")


class Label(ChartConfig):
    """A label that a pod, a node or a namespace must carry."""

    key: str = Field(min_length=1, description="name of the label")
    value: str = Field(description="value of the label")


class Toleration(ChartConfig):
    """A node's taint that the pods accept."""

    key: str = Field(min_length=1, description="name of the taint")
    value: str = Field("", description="value of the taint; empty: any")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        "NoSchedule", description="effect of the taint"
    )


class Peer(ChartConfig):
    """Pods that may open connections, by their labels and their namespace's."""

    pod_labels: tuple[Label, ...] = Field(
        min_length=1, description="labels of the pods, all of which must match"
    )
    namespace_labels: tuple[Label, ...] = Field(
        (), description="labels of their namespace; empty: the release's own namespace"
    )


class Address(ChartConfig):
    """A place outside the cluster."""

    cidr: str = Field(
        pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", description="range of addresses, such as 10.0.0.0/8"
    )
    port: Port = Field(description="TCP port")


class ServedRelease(ChartConfig):
    """Which release is served: what the registry calls the version's source, and its digest."""

    uri: str = Field(
        "",
        pattern=r"^(s3://[a-z0-9][a-z0-9./_-]*/artifacts/[0-9a-f]{64})?$",
        description="address of the artifact, s3://<bucket>/<prefix>/artifacts/<64 hex digits>",
    )
    digest: ImageDigest = Field("", description="digest of the artifact, verified before serving")


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
        120, ge=0, description="time that running sessions get when a pod ends, seconds"
    )
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
    mlflow: Mlflow = Field(Mlflow(), description="tracking server and model registry")
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="allowed connections")
