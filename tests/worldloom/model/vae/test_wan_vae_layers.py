"""Layers that look back: what they see, what they keep, and that frames do not mix elsewhere."""

from __future__ import annotations

import torch
from torch.nn import functional

from worldloom.model.vae.wan_vae_layers import (
    CausalConv3d,
    FrameAttention,
    RMSNorm,
    StreamedLayers,
    WanResidualBlock,
)


def features(num_frames: int = 5, channels: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, num_frames, 3, 3, generator=generator)


def test_a_causal_convolution_is_one_after_silence() -> None:
    conv = CausalConv3d("c", 4, 6)
    padded = functional.pad(features(), (1, 1, 1, 1, 2, 0))
    expected = functional.conv3d(padded, conv.weight, conv.bias)
    assert torch.allclose(conv(features(), None, {}), expected, atol=1e-6)


def test_no_frame_sees_a_later_one() -> None:
    conv = CausalConv3d("c", 4, 6)
    changed = features()
    changed[:, :, 3] += 1
    difference = (conv(changed, None, {}) - conv(features(), None, {})).abs().amax((0, 1, 3, 4))
    assert difference[:3].max() == 0
    assert difference[3:].min() > 0


def test_what_is_kept_has_one_shape_and_no_view_of_the_chunk() -> None:
    conv = CausalConv3d("c", 4, 6)
    for num_frames in (1, 5):
        kept: dict[str, torch.Tensor] = {}
        conv(features(num_frames), None, kept)
        assert kept["c"].shape == (2, 4, 2, 3, 3)
        assert kept["c"].untyped_storage().nbytes() == kept["c"].nbytes
    silent: dict[str, torch.Tensor] = {}
    conv.keep_silence(features(), silent)
    assert torch.equal(silent["c"], torch.zeros(2, 4, 2, 3, 3))


def test_a_pointwise_convolution_keeps_nothing() -> None:
    kept: dict[str, torch.Tensor] = {}
    CausalConv3d("c", 4, 6, (1, 1, 1))(features(), None, kept)
    assert not kept


def test_channels_have_unit_root_mean_square_times_the_weight() -> None:
    norm = RMSNorm(4, 3)
    assert norm.gamma.shape == (4, 1, 1, 1)
    root = norm(features()).square().mean(dim=1).sqrt()
    assert torch.allclose(root, torch.ones_like(root), atol=1e-5)
    norm.gamma.data.fill_(2.0)
    assert torch.allclose(norm(7 * features()).square().mean(dim=1).sqrt(), 2 * root, atol=1e-5)


def test_attention_starts_as_the_identity_and_stays_within_frames() -> None:
    attention = FrameAttention(4)
    torch.nn.init.zeros_(attention.proj.bias)
    assert torch.equal(attention(features()), features())
    torch.nn.init.normal_(attention.proj.weight, generator=torch.Generator().manual_seed(1))
    changed = features()
    changed[:, :, 3, 0, 0] += 1
    difference = (attention(changed) - attention(features())).abs().amax((0, 1, 3, 4))
    assert difference[[0, 1, 2, 4]].max() < 1e-6
    assert difference[3] > 1e-2


def test_attention_weighs_values_by_scaled_products() -> None:
    attention = FrameAttention(4)
    torch.nn.init.eye_(attention.proj.weight[:, :, 0, 0].data)
    frame = attention.norm(features()[:1, :, 0])[0].flatten(1).T
    mixed = attention.to_qkv.weight[:, :, 0, 0] @ frame.T + attention.to_qkv.bias[:, None]
    query, key, value = mixed.chunk(3)
    answer = value @ torch.softmax(query.T @ key / 2, dim=-1).T + attention.proj.bias[:, None]
    expected = features()[0, :, 0] + answer.reshape(4, 3, 3)
    assert torch.allclose(attention(features())[0, :, 0], expected, atol=1e-5)


def test_a_block_adds_its_branch_to_the_input_or_its_projection() -> None:
    for num_out in (4, 6):
        block = WanResidualBlock("b", 4, num_out)
        last = block.residual[6]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        expected = features() if block.shortcut is None else block.shortcut(features(), None, {})
        assert torch.equal(block(features(), None, {}), expected)


def test_layers_in_turn_stream_what_they_answer_at_once() -> None:
    layers = StreamedLayers([WanResidualBlock("a", 4, 4), FrameAttention(4)])
    whole = layers(features(), None, {})
    past: dict[str, torch.Tensor] | None = None
    chunks = []
    for frames in features().split([1, 3, 1], dim=2):
        kept: dict[str, torch.Tensor] = {}
        chunks.append(layers(frames, past, kept))
        past = kept
    assert torch.allclose(torch.cat(chunks, dim=2), whole, atol=1e-5)
