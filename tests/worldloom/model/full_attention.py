"""A stream as one sequence under an explicit mask, with no cache of anything; not a test.

Every latent, committed or noisy, is in one sequence, and all of it goes through block after block.
Attention is written out in float64 over the whole sequence. Which latent a query may look at is a
matrix; where a key lies is worked out anew in the frame of each query's segment.

Letters: T latents, P tokens of a latent, L = T P, N heads, D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldloom.model.block import TransformerBlock
from worldloom.model.transformer import WorldModelTransformer, timestep_embedding
from worldloom.rollout.segment import Conditioner


@dataclass
class Group:
    """Latents that were computed together: they share an anchor, an origin, an action module."""

    latents: range
    anchor: Tensor  # [1, 4, 4]
    sigma: float


@dataclass
class Walk:
    """All that is known of latents 0 to T - 1."""

    latents: Tensor  # [1, C, T, H, W]
    poses: Tensor  # [1, T, 4, 4]
    keyboard: Tensor  # [1, T, W, 6]
    mouse: Tensor  # [1, T, W, 2]
    prompt: Tensor  # [1, W]


@torch.no_grad()
def velocity(
    transformer: WorldModelTransformer,
    conditioner: Conditioner,
    walk: Walk,
    groups: list[Group],
    sees: Tensor,
) -> Tensor:
    """Return the velocity [1, C, T, H, W] of all latents; `sees` is true for (query, key)."""
    config, geometry = transformer.config, conditioner.geometry
    places = config.tokens_per_latent_frame
    x = transformer.to_patches(walk.latents)
    x = transformer.patch_embed(x)
    if transformer.place_embed is not None:
        x = x + transformer.place_embed.repeat(walk.latents.shape[2], 1)
    sigma = torch.cat([torch.full((len(group.latents),), group.sigma) for group in groups])
    time = transformer.time_embed(timestep_embedding(1000 * sigma[None]).float())
    modulation = transformer.time_projection(time).unflatten(-1, (6, -1))
    prompt = walk.prompt if transformer.text_encoder is None else None
    prompt = transformer.text_encoder(walk.prompt) if prompt is None else prompt
    prompt = transformer.text_embed(prompt)
    rays = torch.cat(
        [geometry.rays_from(walk.poses[:, group.latents], group.anchor) for group in groups], dim=1
    )
    rays = transformer.ray_embed(rays.flatten(1, 2))
    coordinates = [_seen_from(group, walk, conditioner) for group in groups]
    mask = sees.repeat_interleave(places, 0).repeat_interleave(places, 1)
    for block in transformer.blocks:
        own = (modulation + block.modulation[:, None]).repeat_interleave(places, dim=1)
        shift1, scale1, gate1, shift2, scale2, gate2 = own.unbind(2)
        normed = block.norm1(x) * (1 + scale1) + shift1
        x = x + gate1 * _attention(transformer, block, normed, groups, coordinates, mask)
        scale, shift = block.camera(rays)
        x = x * (1 + scale) + shift
        if block.cross_attn is not None:
            normed = block.norm3(x)
            x = x + block.cross_attn(normed, block.cross_attn.keys_values(prompt))
        if block.actions is not None:
            x = _actions(block, x.unflatten(1, (-1, places)), walk, groups)
        x = x + gate2 * block.ffn(block.norm2(x) * (1 + scale2) + shift2)
    shift, scale = (
        (time[:, :, None] + transformer.head_modulation[:, None])
        .repeat_interleave(places, 1)
        .unbind(2)
    )
    out = transformer.head(transformer.head_norm(x) * (1 + scale) + shift)
    return transformer.to_latents(out.unflatten(1, (-1, places)))


def _seen_from(group: Group, walk: Walk, conditioner: Conditioner) -> Tensor:
    """Return coordinates [L, K] of every latent's tokens as a group's queries see them."""
    count = walk.poses.shape[1]
    ages = group.latents.start - torch.arange(count, dtype=torch.float32)
    ages = ages.clamp(max=conditioner.config.max_memory_gap)
    return conditioner.geometry.coordinates_from(walk.poses, group.anchor, ages[None])[0]


def _attention(
    transformer: WorldModelTransformer,
    block: TransformerBlock,
    x: Tensor,
    groups: list[Group],
    coordinates: list[Tensor],
    mask: Tensor,
) -> Tensor:
    layer, heads = block.self_attn, transformer.config.num_heads
    query = _by_head(layer.norm_q(layer.q(x)), heads)
    key = _by_head(layer.norm_k(layer.k(x)), heads)
    value = _by_head(layer.v(x), heads)
    table = transformer.rope.frequencies.table.double().numpy()  # [N, K, P]
    places = x.shape[1] // sum(len(group.latents) for group in groups)
    out = np.empty_like(query)
    for group, seen in zip(groups, coordinates, strict=True):
        turns = np.exp(1j * np.einsum("lk,nkp->lnp", seen.double().numpy(), table))
        rows = slice(group.latents.start * places, group.latents.stop * places)
        turned = _turned(key, turns)
        carried = _turned(value, turns) if layer.turns_values else value
        scores = np.einsum("lnd,snd->nls", _turned(query[rows], turns[rows]), turned)
        scores = scores / np.sqrt(query.shape[-1])
        scores = np.where(mask[rows].numpy(), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares = shares / shares.sum(-1, keepdims=True)
        read = np.einsum("nls,snd->lnd", shares, carried)
        out[rows] = _turned(read, turns[rows].conj()) if layer.turns_values else read
    return layer.o(torch.from_numpy(out).float().flatten(1)[None])


def _actions(block: TransformerBlock, x: Tensor, walk: Walk, groups: list[Group]) -> Tensor:
    """Return tokens [1, L, E]: the module reads over time, so each group by itself."""
    said = []
    for group in groups:
        at = slice(group.latents.start, group.latents.stop)
        said.append(block.actions(x[:, at], walk.keyboard[:, at], walk.mouse[:, at]))
    return torch.cat(said, dim=1).flatten(1, 2)


def _by_head(x: Tensor, heads: int) -> np.ndarray:
    return x[0].unflatten(-1, (heads, -1)).double().numpy()


def _turned(x: np.ndarray, turns: np.ndarray) -> np.ndarray:
    product = (x[..., 0::2] + 1j * x[..., 1::2]) * turns
    return np.stack([product.real, product.imag], axis=-1).reshape(x.shape)
