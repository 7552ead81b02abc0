"""Pruning the Wan2.2 decoder: silent channels cost nothing, strong ones stay, streams agree."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_wan import WAN_CONFIG, randomise, tiny_latents

from worldloom.model.vae.wan_vae import WanVAEDecoder
from worldloom.quantize.prune import prune_decoder
from worldloom.quantize.prune_wan import plan_slices, prune_wan_decoder, sum_of_squares


def wide_decoder() -> WanVAEDecoder:
    decoder = randomise(WanVAEDecoder(WAN_CONFIG)).eval()
    assert isinstance(decoder, WanVAEDecoder)
    return decoder.requires_grad_(requires_grad=False)


@torch.no_grad()
def weakened(decoder: WanVAEDecoder, removed: float, strength: float) -> WanVAEDecoder:
    """Let channels drawn at random, in every stream alike, write only `strength` of what they did.

    The slices of a random pruning say which rows belong together; that they do is what is tested.
    """
    narrow = WAN_CONFIG.model_copy(update={"decoder_removed": removed})
    slices = plan_slices(decoder, narrow, torch.Generator().manual_seed(4))
    for layer, rows in slices.rows.items():
        if layer in slices.columns:
            for parameter in decoder.get_submodule(layer).parameters():
                weak = torch.ones(len(parameter), dtype=torch.bool)
                weak[rows] = False
                parameter[weak] *= strength
    return decoder


def distance(pruned: WanVAEDecoder, wide: WanVAEDecoder) -> float:
    """Return the root mean square distance of the answers over the wide one's deviation."""
    with torch.no_grad():
        answer, target = pruned(tiny_latents(4))[0], wide(tiny_latents(4))[0]
    return float((answer - target).square().mean().sqrt() / target.std())


def test_nothing_removed_changes_nothing() -> None:
    wide = wide_decoder()
    pruned = prune_decoder(wide, 0.0).decoder
    state = wide.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in pruned.state_dict().items())


@pytest.mark.parametrize(
    ("removed", "widths"), [(0.5, (16, 16, 16, 8, 4)), (0.75, (8, 8, 8, 4, 2))]
)
def test_every_stage_loses_its_share(removed: float, widths: tuple[int, ...]) -> None:
    pruned = prune_decoder(wide_decoder(), removed)
    assert pruned.decoder.config.decoder_widths == widths
    assert [len(kept) for kept in pruned.kept_channels] == list(widths)
    assert pruned.decoder.conv1.weight.shape[0] == widths[0]


@pytest.mark.parametrize("removed", [0.5, 0.75])
def test_removing_silent_channels_changes_nothing(removed: float) -> None:
    wide = weakened(wide_decoder(), removed, 0.0)
    assert distance(prune_decoder(wide, removed).decoder, wide) < 1e-4
    shuffle = torch.Generator().manual_seed(5)
    assert distance(prune_wan_decoder(wide, removed, shuffle=shuffle).decoder, wide) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("removed", "factor"), [(0.5, 5.0), (0.75, 1.4)])
def test_strong_channels_beat_random_ones(removed: float, factor: float) -> None:
    wide = weakened(wide_decoder(), removed, 0.03)
    chosen = distance(prune_decoder(wide, removed).decoder, wide)
    drawn = [
        distance(
            prune_wan_decoder(wide, removed, shuffle=torch.Generator().manual_seed(seed)).decoder,
            wide,
        )
        for seed in range(10, 15)
    ]
    assert factor * chosen < min(drawn)


def test_streams_that_a_shortcut_joins_keep_the_same_channels() -> None:
    kept = prune_decoder(wide_decoder(), 0.5).kept_channels
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], kept[2])
    pairs = torch.stack([2 * kept[3], 2 * kept[3] + 1], dim=1).flatten()
    assert torch.equal(kept[2], pairs)


@torch.no_grad()
def test_a_stream_that_a_stage_projects_anew_keeps_its_own_strongest() -> None:
    wide = wide_decoder()
    stage = "upsamples.3.upsamples"
    for writer in ("0.shortcut", "0.residual.6", "1.residual.6", "2.residual.6"):
        for parameter in wide.get_submodule(f"{stage}.{writer}").parameters():
            parameter[[0, 1, 3, 6]] = 0
    assert prune_decoder(wide, 0.5).kept_channels[-1].tolist() == [2, 4, 5, 7]


def test_a_pruned_decoder_streams_exactly() -> None:
    small = prune_decoder(wide_decoder(), 0.5).decoder
    whole, _ = small(tiny_latents(4))
    first, cache = small(tiny_latents(4)[:, :, :1])
    rest, _ = small(tiny_latents(4)[:, :, 1:], cache)
    assert torch.allclose(torch.cat([first, rest], dim=2), whole, atol=1e-5)


def test_norms_are_set_to_what_the_kept_channels_hold() -> None:
    wide = weakened(wide_decoder(), 0.5, 0.0)
    kept = prune_decoder(wide, 0.5)
    channels = kept.kept_channels[0]
    gain = kept.decoder.middle[0].residual[0].gamma / wide.middle[0].residual[0].gamma[channels]
    assert torch.allclose(gain, torch.full_like(gain, math.sqrt(2)), atol=1e-4)


def test_a_channels_energy_counts_filter_and_bias() -> None:
    weight = torch.tensor([[[3.0, 0.0]], [[1.0, 1.0]]])
    assert sum_of_squares(weight, torch.tensor([4.0, 0.0])).tolist() == [25.0, 2.0]


@pytest.mark.parametrize("removed", [-0.1, 1.0])
def test_a_share_outside_its_range_is_refused(removed: float) -> None:
    with pytest.raises(ValueError, match=f"removed={removed}: expected a share"):
        prune_decoder(wide_decoder(), removed)


def test_a_light_decoder_is_not_pruned_again() -> None:
    light = prune_decoder(wide_decoder(), 0.5).decoder
    with pytest.raises(ValueError, match="expected a full decoder to prune"):
        prune_decoder(light, 0.5)
