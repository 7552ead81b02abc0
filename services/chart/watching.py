"""The values of what watches a deployment: Prometheus, and KEDA that scales by what it counts.

It knows nothing of the metrics' names; they stand in the templates, and a test compares them with
what the programs export.
"""

from __future__ import annotations

from pydantic import Field

from services.chart.terms import ChartConfig, Label, Peer


class PodMonitors(ChartConfig):
    """Objects by which Prometheus's operator finds the pods."""

    enabled: bool = Field(
        False, description="whether the chart makes PodMonitors; needs Prometheus's operator"
    )
    labels: tuple[Label, ...] = Field(
        (), description="labels by which the operator selects PodMonitors"
    )
    interval_seconds: int = Field(15, ge=1, description="time between two scrapes, seconds")


class Monitoring(ChartConfig):
    """Who reads the metrics."""

    scrapers: tuple[Peer, ...] = Field(
        (Peer(pod_labels=(Label(key="worldloom.metrics-scraper", value="true"),)),),
        description="pods that may read the metrics of gateway and inference",
    )
    pod_monitors: PodMonitors = Field(PodMonitors(), description="for Prometheus's operator")


class Autoscaling(ChartConfig):
    """As many inference pods as players need, by KEDA from Prometheus."""

    enabled: bool = Field(
        False,
        description="whether KEDA sets the number of inference pods instead of inference.replicas; "
        "needs monitoring.podMonitors",
    )
    prometheus: str = Field(
        "",
        pattern=r"^(https?://[^\s]+)?$",
        description="address of the Prometheus that scrapes the pods; must be given",
    )
    min_replicas: int = Field(1, ge=1, description="fewest pods")
    max_replicas: int = Field(8, ge=1, description="most pods")
    slot_use: float = Field(
        0.75, gt=0, le=1, description="share of a pod's slots that is in use when all is well"
    )
    slack_seconds: float = Field(
        0.1,
        ge=0,
        description="play time that must be left when the tightest segment is ready, seconds",
    )
    polling_seconds: int = Field(15, ge=1, description="time between two looks, seconds")
    scale_in_seconds: int = Field(
        600, ge=0, le=3600, description="calm before a pod is taken away, seconds"
    )
