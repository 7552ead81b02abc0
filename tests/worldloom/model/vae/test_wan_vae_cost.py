"""The counted cost of the published VAE and its light decoders."""

from __future__ import annotations

import pytest

from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.model.vae.wan_vae_cost import wan_vae_cost

RESOLUTION = (704, 1280)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("removed", "parameters", "tera_operations"),
    [(0.0, 555_051_580, 66.35), (0.5, 139_131_324, 16.6), (0.75, 34_967_932, 4.2)],
)
def test_decoders_cost_what_the_specification_says(
    removed: float, parameters: int, tera_operations: float
) -> None:
    cost = wan_vae_cost(WanVAEConfig(decoder_removed=removed), RESOLUTION)
    assert cost.decoder_parameters == parameters
    assert cost.encoder_parameters == 149_637_088
    assert cost.decode_flops / 1e12 == pytest.approx(tera_operations, rel=0.03)


def test_the_full_decoder_has_about_554_million_parameters() -> None:
    cost = wan_vae_cost(WanVAEConfig(), (32, 32))
    assert cost.decoder_parameters == pytest.approx(554e6, rel=0.005)


@pytest.mark.slow
def test_operations_grow_with_the_area_but_for_attention() -> None:
    small, large = (wan_vae_cost(WanVAEConfig(), size) for size in [(32, 64), (64, 128)])
    assert large.decode_cache_values == 4 * small.decode_cache_values
    assert large.decode_flops / small.decode_flops == pytest.approx(4, rel=0.01)
    assert large.decode_flops > 4 * small.decode_flops


def test_a_resolution_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 32 pixels"):
        wan_vae_cost(WanVAEConfig(), (720, 1280))
