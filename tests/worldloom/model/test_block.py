import pytest
import torch
import torch.nn.functional as F

from worldloom.model.block import SegmentPlan, TransformerBlock
from worldloom.model.config import TransformerConfig

CONFIG = TransformerConfig(
    latent_height=4, latent_width=4, dim=32, num_heads=2, ffn_dim=48, num_action_blocks=1,
    action_dim=16, action_num_heads=2,
)  # fmt: skip
LATENTS, PLACES = 3, CONFIG.tokens_per_latent_frame


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def block_of(index=0, **changes):
    torch.manual_seed(0)
    block = TransformerBlock(CONFIG.model_copy(update=changes), index)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block


def segment():
    angles = draw(1, LATENTS * PLACES, 2, 8, seed=3)
    return SegmentPlan(
        rotation=(angles.cos(), angles.sin()),
        keyboard=draw(1, LATENTS, CONFIG.action_window_frames, 6, seed=4),
        mouse=draw(1, LATENTS, CONFIG.action_window_frames, 2, seed=5),
        num_memory=0,
    )


@torch.no_grad()
def answer(block, x, modulation, prompt=None):
    rays = draw(1, LATENTS * PLACES, 32, seed=6)
    plan = block.plan(rays, draw(1, 4, 32, seed=7) if prompt is None else prompt)
    return block(x, modulation, segment(), plan, block.keys_values(x, modulation))


TOKENS = draw(1, LATENTS * PLACES, 32, seed=1)
MODULATION = draw(1, LATENTS, 6, 32, seed=2)


@pytest.mark.parametrize("is_residual_normed", [False, True])
@torch.no_grad()
def test_a_block_attends_sees_the_camera_reads_acts_and_feeds_forward_in_that_order(
    is_residual_normed,
):
    block, plan = block_of(is_residual_normed=is_residual_normed), segment()
    own = (MODULATION + block.modulation[:, None]).repeat_interleave(PLACES, dim=1)
    shift1, scale1, gate1, shift2, scale2, gate2 = own.unbind(2)
    x, rays, prompt = TOKENS, draw(1, LATENTS * PLACES, 32, seed=6), draw(1, 4, 32, seed=7)
    normed = F.layer_norm(x, (32,), eps=1e-6) * (1 + scale1) + shift1
    x = x + gate1 * block.self_attn(normed, plan.rotation, block.self_attn.keys_values(normed))
    scale, shift = block.camera(rays)
    x = (1 + scale) * x + shift
    read = F.layer_norm(x, (32,), block.norm3.weight, block.norm3.bias, eps=1e-6)
    said = block.cross_attn(read, block.cross_attn.keys_values(prompt))
    x = (read if is_residual_normed else x) + said
    x = block.actions(x.unflatten(1, (LATENTS, PLACES)), plan.keyboard, plan.mouse).flatten(1, 2)
    fed = block.ffn(F.layer_norm(x, (32,), eps=1e-6) * (1 + scale2) + shift2)
    torch.testing.assert_close(
        answer(block, TOKENS, MODULATION), x + gate2 * fed, atol=1e-4, rtol=1e-5
    )


def test_norming_the_residual_is_another_network():
    plain, normed = (block_of(is_residual_normed=value) for value in (False, True))
    gap = answer(plain, TOKENS, MODULATION) - answer(normed, TOKENS, MODULATION)
    assert gap.abs().max() > 0.1


def test_each_latent_is_modulated_by_its_own_timestep():
    """Another timestep of one latent changes the others by attention alone."""
    block = block_of(num_action_blocks=0)
    torch.nn.init.zeros_(block.self_attn.o.weight)
    torch.nn.init.zeros_(block.self_attn.o.bias)
    other = MODULATION.clone()
    other[:, 1] += 1
    gap = (answer(block, TOKENS, MODULATION) - answer(block, TOKENS, other)).abs()
    by_latent = gap.unflatten(1, (LATENTS, PLACES)).amax(dim=(0, 2, 3))
    assert by_latent[1] > 0.1
    assert by_latent[0] == by_latent[2] == 0


def test_zero_gates_leave_attention_and_feed_forward_out():
    block = block_of(num_action_blocks=0, num_text_blocks=0)
    for layer in (block.camera.scale, block.camera.shift):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    gates = MODULATION.clone()
    gates[:, :, [2, 5]] = -block.modulation[:, None, [2, 5]]
    torch.testing.assert_close(answer(block, TOKENS, gates), TOKENS, atol=1e-6, rtol=0)


def test_late_blocks_have_no_actions_and_read_no_prompt():
    early, late = block_of(0), block_of(1)
    assert early.actions is not None
    assert early.cross_attn is not None
    assert late.actions is None
    assert late.cross_attn is None
    prompts = draw(1, 4, 32, seed=7), draw(1, 4, 32, seed=8)
    gaps = [
        (answer(block, TOKENS, MODULATION, a) - answer(block, TOKENS, MODULATION, b)).abs().max()
        for block in (early, late)
        for a, b in [prompts]
    ]
    assert gaps[0] > 1e-3
    assert gaps[1] == 0
