"""The words that the chart's values are made of: images, amounts, labels, peers, addresses.

It knows what Kubernetes calls them and no part of the chart.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

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


class Annotation(ChartConfig):
    """An annotation that something outside the chart reads, such as an ingress controller."""

    key: str = Field(min_length=1, description="name of the annotation")
    value: str = Field(description="value of the annotation")
