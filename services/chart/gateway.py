"""The values of the gateway: its own settings, its secrets' names, the ingress before it.

`settings` is the gateway's own configuration and keeps the names it has there; the chart adds the
engines that it deploys. This module does not know the templates.
"""

from __future__ import annotations

from pydantic import Field

from services.chart.terms import (
    Address,
    Amounts,
    Annotation,
    ChartConfig,
    Image,
    Label,
    Name,
    Peer,
    Resources,
    UserId,
)
from services.gateway.settings import GatewayConfig

_HOUR = "3600"


class Ingress(ChartConfig):
    """The door from outside the cluster, by an ingress controller that exists."""

    enabled: bool = Field(False, description="whether the chart makes an Ingress")
    class_name: Name = Field("", description="ingress class; empty: the cluster's default")
    host: str = Field("", description="host name that players use; must be given")
    tls_secret: Name = Field(
        "", description="existing secret with the host's certificate; empty: no TLS here"
    )
    annotations: tuple[Annotation, ...] = Field(
        (
            Annotation(key="nginx.ingress.kubernetes.io/proxy-read-timeout", value=_HOUR),
            Annotation(key="nginx.ingress.kubernetes.io/proxy-send-timeout", value=_HOUR),
            Annotation(key="nginx.ingress.kubernetes.io/proxy-body-size", value="4m"),
        ),
        description="annotations for the controller: a WebSocket must live as long as a session",
    )
    controllers: tuple[Peer, ...] = Field(
        (
            Peer(
                pod_labels=(Label(key="app.kubernetes.io/name", value="ingress-nginx"),),
                namespace_labels=(Label(key="kubernetes.io/metadata.name", value="ingress-nginx"),),
            ),
        ),
        description="pods of the controller",
    )


class Gateway(ChartConfig):
    """The gateway: WebSocket and gRPC for players, in front of the inference servers."""

    enabled: bool = Field(
        True, description="whether players reach the servers through a gateway; it needs some"
    )
    image: Image = Field(Image(), description="image built from infra/images/gateway.Dockerfile")
    user: UserId = Field(1000, description="user and group id of the process")
    replicas: int = Field(2, ge=1, description="pods; each counts quotas and its queue for itself")
    settings: GatewayConfig = Field(
        GatewayConfig(host="0.0.0.0", grpc_port=8001),
        description="the gateway's own settings; the chart's engines come before `backends`",
    )
    token_secret: Name = Field(
        "",
        description="existing secret whose key `secret` signs tokens, 32 characters or more, "
        "former ones on further lines; must be given",
    )
    keys_secret: Name = Field(
        "",
        description="existing secret whose key `keys.json` is a list like settings.keys; "
        "empty: settings.keys",
    )
    resources: Resources = Field(
        Resources(
            requests=Amounts(cpu="500m", memory="256Mi"), limits=Amounts(cpu="2", memory="1Gi")
        ),
        description="CPU and memory of a pod",
    )
    max_unavailable: int = Field(
        1, ge=1, description="pods that a node's maintenance may take away at once"
    )
    clients: tuple[Peer, ...] = Field(
        (Peer(pod_labels=(Label(key="worldloom.gateway-client", value="true"),)),),
        description="pods that may talk to the gateway",
    )
    collectors: tuple[Peer, ...] = Field(
        (), description="pods of the OTLP collector at settings.otlp_endpoint"
    )
    addresses: tuple[Address, ...] = Field(
        (), description="what it reaches outside the cluster: an OTLP collector, further engines"
    )
    ingress: Ingress = Field(Ingress(), description="the door from outside the cluster")
