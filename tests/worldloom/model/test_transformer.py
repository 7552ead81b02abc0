import dataclasses

import pytest
import torch
from tiny import CONFIG, FRAME_SIZE, INTRINSICS, tiny_clips, tiny_transformer

from worldloom.model.attention import attend
from worldloom.model.config import TransformerConfig
from worldloom.model.footprint import footprint
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.segment import Conditioner, action_windows

CONDITIONER = Conditioner(CONFIG, INTRINSICS, FRAME_SIZE)
TOKENS = CONFIG.tokens_per_latent_frame


def clean(latents=(0, 1, 2, 3)):
    clips = tiny_clips(1)
    at = torch.tensor([latents])
    windows = [
        action_windows(actions, at, CONFIG.action_window_frames)[0]
        for actions in (clips.keyboard, clips.mouse)
    ]
    return CONDITIONER.clean(
        clips.latents[0, list(latents)].float(),
        clips.poses[0, [4 * i for i in latents]],
        *windows,
        torch.ones(len(latents), CONFIG.text_length, dtype=torch.long),
    )


def noisy(sigma=0.5, move=None):
    clips = tiny_clips(1)
    at = torch.tensor([[4, 5, 6]])
    poses, anchor = clips.poses[:, [16, 20, 24]], clips.poses[:, 12]
    if move is not None:
        poses, anchor = move @ poses, move @ anchor
    windows = tuple(
        action_windows(actions, at, CONFIG.action_window_frames)
        for actions in (clips.keyboard, clips.mouse)
    )
    x = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    tokens = torch.ones(1, CONFIG.text_length, dtype=torch.long)
    return CONDITIONER.noisy(x, torch.tensor([sigma]), poses, anchor, windows, tokens)


def context(transformer, order=(0, 1, 2, 3), is_valid=(True,) * 4, move=None):
    clips = tiny_clips(1)
    committed = transformer.commit(clean(order))
    blocks = [
        dataclasses.replace(
            block, keys=block.keys.flatten(0, 1)[None], values=block.values.flatten(0, 1)[None]
        )
        for block in committed
    ]
    poses, anchor = clips.poses[:, [4 * i for i in order]], clips.poses[:, 12]
    if move is not None:
        poses, anchor = move @ poses, move @ anchor
    ages = torch.tensor([[4 - i for i in order]])
    return CONDITIONER.context(blocks, poses, anchor, ages, torch.tensor([list(is_valid)]))


def test_patches_and_latents_are_each_others_inverse():
    transformer = tiny_transformer()
    x = torch.randn(2, 4, 3, 4, 4)
    patches = transformer._to_patches(x)
    assert patches.shape == (2, 3 * TOKENS, 4 * CONFIG.patch_size**2)
    torch.testing.assert_close(transformer._to_latents(patches, 3), x)


def test_a_fresh_network_predicts_nothing():
    transformer = WorldModelTransformer(CONFIG)
    assert not transformer.denoise(noisy(), context(transformer)).any()


@torch.no_grad()
def test_a_committed_latent_depends_on_itself_alone():
    transformer = tiny_transformer()
    together, alone = transformer.commit(clean((0, 1, 2))), transformer.commit(clean((1,)))
    for block, single in zip(together, alone, strict=True):
        torch.testing.assert_close(block.keys[1:2], single.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(block.values[1:2], single.values, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_order_of_the_context_does_not_matter():
    transformer = tiny_transformer()
    one = transformer.denoise(noisy(), context(transformer, (0, 1, 2, 3)))
    other = transformer.denoise(noisy(), context(transformer, (2, 0, 3, 1)))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_is_not_valid_is_not_seen():
    transformer = tiny_transformer()
    shown = transformer.denoise(noisy(), context(transformer, (2, 3), (True, True)))
    masked = transformer.denoise(
        noisy(), context(transformer, (0, 1, 2, 3), (False, False, True, True))
    )
    torch.testing.assert_close(shown, masked, atol=1e-5, rtol=1e-5)
    every = transformer.denoise(noisy(), context(transformer))
    assert not torch.allclose(every, masked, atol=1e-3)


@torch.no_grad()
def test_moving_and_turning_the_whole_world_changes_nothing():
    from worldloom.camera import pose_matrix

    move = torch.from_numpy(pose_matrix([4.0, 0.0, -2.0], 0.8, 0.0)).float()
    transformer = tiny_transformer()
    here = transformer.denoise(noisy(), context(transformer))
    there = transformer.denoise(noisy(move=move), context(transformer, move=move))
    torch.testing.assert_close(here, there, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("field", ["keyboard", "mouse", "rays", "coordinates", "sigma"])
@torch.no_grad()
def test_every_condition_has_a_say(field):
    transformer = tiny_transformer()
    segment = noisy()
    changed = dataclasses.replace(segment, **{field: getattr(segment, field) + 0.5})
    seen = context(transformer)
    assert not torch.allclose(
        transformer.denoise(segment, seen), transformer.denoise(changed, seen), atol=1e-4
    )


def test_attention_written_out_equals_the_fused_kernel():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, generator=generator) for n in (5, 7, 7))
    boolean = torch.rand(2, 1, 1, 7, generator=generator) < 0.6
    boolean[..., 0] = True
    bias = torch.randn(3, 5, 7, generator=generator)
    for mask in (None, boolean, bias):
        written = attend(q, k, v, mask)
        with torch.no_grad():
            fused = attend(q, k, v, mask)
        torch.testing.assert_close(written, fused, atol=1e-5, rtol=1e-5)


def test_a_footprint_counts_the_real_modules():
    found = footprint(CONFIG)
    actual = sum(p.numel() for p in WorldModelTransformer(CONFIG).parameters())
    assert found.parameters.total == actual
    parts = found.parameters
    assert parts.core + parts.camera + parts.action == actual
    # One more block of the same width adds operations in proportion to the tokens it reads.
    more = footprint(CONFIG.model_copy(update={"num_blocks": CONFIG.num_blocks + 1}))
    assert more.flops_per_forward > found.flops_per_forward


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="patch_size 3"):
        TransformerConfig(patch_size=3)
    with pytest.raises(ValueError, match="num_heads"):
        TransformerConfig(dim=100, num_heads=16)
