"""One engine as the gateway sees it."""

from __future__ import annotations

import pytest

from services import contract
from services.gateway.backends import Backend, BackendConfig
from services.gateway.fake_engine import FakeEngine

OLD, NEW = "sha256:old", "sha256:new"


@pytest.mark.parametrize(
    ("meant", "served", "version"), [(NEW, NEW, "8"), (NEW, OLD, ""), ("", OLD, "8")]
)
def test_an_engine_of_another_release_does_not_get_the_version_of_the_meant_one(
    engine_config, meant, served, version
) -> None:
    engine = FakeEngine(engine_config)
    backend = Backend(BackendConfig(address="e:1", model_version="8", release=meant), engine)
    backend.description = contract.Description(
        release=served, height=64, width=128, frames_per_segment=4, worlds=(), num_slots=1,
        num_sessions=0,
    )  # fmt: skip
    assert backend.model_version == version
