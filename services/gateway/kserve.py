"""The parts of KServe v2 that need no session: plain HTTP, and the names of the gRPC methods.

Streaming has no HTTP form in KServe v2; a session goes over gRPC or the WebSocket. It does not
know backends beyond whether there are any.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from services import contract
from services.gateway.routes import DrainOf, PartsOf, readiness_of

SERVER_NAME = "worldloom-gateway"
SERVER_VERSION = "1"
_DATA_TYPES = {
    "TYPE_STRING": "BYTES",
    "TYPE_UINT8": "UINT8",
    "TYPE_FP32": "FP32",
    "TYPE_INT32": "INT32",
}

router = APIRouter(prefix="/v2")


class ServerMetadata(BaseModel):
    """What answers here."""

    name: str = SERVER_NAME
    version: str = SERVER_VERSION
    extensions: tuple[str, ...] = ()


class TensorMetadata(BaseModel):
    """One tensor of the model."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(BaseModel):
    """The model's tensors, as the contract names them."""

    name: str
    versions: tuple[str, ...]
    platform: str = "python"
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@router.get("")
def server_metadata() -> ServerMetadata:
    """Say what answers here."""
    return ServerMetadata()


@router.get("/health/live")
def is_live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@router.get("/health/ready")
def is_ready(parts: PartsOf, drain: DrainOf) -> JSONResponse:
    """Say whether a session can be opened: 503 when none can."""
    ready = readiness_of(parts, drain).is_ready
    return JSONResponse({"ready": ready}, 200 if ready else 503)


@router.get("/models/{name}/ready")
def is_model_ready(name: str, parts: PartsOf, drain: DrainOf) -> JSONResponse:
    """Say whether a session of the model can be opened: 503 when none can."""
    if name != contract.MODEL_NAME:
        return _unknown(name)
    ready = readiness_of(parts, drain).is_ready
    return JSONResponse({"name": name, "ready": ready}, 200 if ready else 503)


@router.get("/models/{name}", response_model=ModelMetadata)
def model_metadata(name: str) -> ModelMetadata | JSONResponse:
    """Say which tensors the model takes and gives."""
    if name != contract.MODEL_NAME:
        return _unknown(name)
    return ModelMetadata(
        name=name,
        versions=("1",),
        inputs=tuple(map(_tensor, contract.INPUTS)),
        outputs=tuple(map(_tensor, contract.OUTPUTS)),
    )


def _tensor(spec: contract.TensorSpec) -> TensorMetadata:
    datatype = _DATA_TYPES[spec.data_type]
    return TensorMetadata(name=spec.name, datatype=datatype, shape=spec.dims)


def _unknown(name: str) -> JSONResponse:
    sentence = f"model {name!r} is not served here, expected {contract.MODEL_NAME!r}"
    return JSONResponse({"error": sentence}, 404)
