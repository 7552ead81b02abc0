"""Pruning: nothing removed changes nothing, and the weak channels go first."""

from __future__ import annotations

import pytest
import torch

from worldloom.model.vae.video_vae import VAEConfig, VAEDecoder
from worldloom.quantize.prune import prune_decoder, pruned_widths, top_channels

CONFIG = VAEConfig(latent_channels=6, decoder_widths=(16, 12, 8), decoder_blocks=2)


def decoder() -> VAEDecoder:
    made = VAEDecoder(CONFIG)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return made.eval().requires_grad_(requires_grad=False)


def latents() -> torch.Tensor:
    return torch.randn(1, 6, 4, 2, 2, generator=torch.Generator().manual_seed(1))


def test_nothing_removed_changes_nothing() -> None:
    pruned = prune_decoder(decoder(), 0.0)
    assert torch.allclose(pruned.decoder(latents())[0], decoder()(latents())[0], atol=1e-6)


@pytest.mark.parametrize(("removed", "widths"), [(0.5, (8, 8, 4)), (0.75, (4, 4, 4))])
def test_widths_are_multiples_of_four(removed: float, widths: tuple[int, ...]) -> None:
    assert pruned_widths(CONFIG.decoder_widths, removed) == widths
    assert prune_decoder(decoder(), removed).decoder.config.decoder_widths == widths


def test_channels_without_weights_are_the_ones_that_go() -> None:
    wide = decoder()
    dead = [0, 3, 5, 6, 9, 10, 13, 14]
    wide.conv_in.conv.weight[dead] = 0
    for block in wide.stages[0].children():
        block.conv_out.conv.weight[dead] = 0  # type: ignore[union-attr,operator,index]
    kept = prune_decoder(wide, 0.5).kept_channels[0]
    assert not set(kept.tolist()) & set(dead)


def test_kept_filters_are_copied_row_by_row() -> None:
    wide, pruned = decoder(), prune_decoder(decoder(), 0.5)
    kept, small = pruned.kept_channels, pruned.decoder
    assert torch.equal(small.conv_in.conv.weight, wide.conv_in.conv.weight[kept[0]])
    assert torch.equal(small.conv_out.conv.weight, wide.conv_out.conv.weight[:, kept[2]])
    wide_up, small_up = wide.ups[0].weight, small.ups[0].weight
    assert isinstance(wide_up, torch.Tensor)
    rows = wide_up.reshape(12, 4, 16)[kept[1]][:, :, kept[0]]
    assert torch.equal(small_up.reshape(8, 4, 8), rows)


def test_a_pruned_decoder_streams_exactly() -> None:
    small = prune_decoder(decoder(), 0.5).decoder
    whole, _ = small(latents())
    first, cache = small(latents()[:, :, :1])
    rest, _ = small(latents()[:, :, 1:], cache)
    assert torch.allclose(torch.cat([first, rest], dim=2), whole, atol=1e-5)


def test_ties_go_to_the_lower_index() -> None:
    assert top_channels(torch.tensor([1.0, 2.0, 1.0, 2.0]), 3).tolist() == [0, 1, 3]


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="removed=1"):
        pruned_widths((8,), 1.0)
