"""Our transformer's tensors under the public checkpoint's names, mapped by hand; not a test."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

PREFIXES = {
    "patch_embed": "patch_embedding",
    "ray_embed.patch": "patch_embedding_wancamctrl",
    "ray_embed.inner": "c2ws_hidden_states_layer1",
    "ray_embed.outer": "c2ws_hidden_states_layer2",
    "text_embed.0": "text_embedding.0",
    "text_embed.2": "text_embedding.2",
    "time_embed.0": "time_embedding.0",
    "time_embed.2": "time_embedding.2",
    "time_projection.1": "time_projection.1",
    "head": "head.head",
    "head_modulation": "head.modulation",
    "blocks.#.camera.inner": "blocks.#.cam_injector_layer1",
    "blocks.#.camera.outer": "blocks.#.cam_injector_layer2",
    "blocks.#.camera.scale": "blocks.#.cam_scale_layer",
    "blocks.#.camera.shift": "blocks.#.cam_shift_layer",
    "blocks.#.actions.mouse_in.0": "blocks.#.action_model.mouse_mlp.0",
    "blocks.#.actions.mouse_in.2": "blocks.#.action_model.mouse_mlp.2",
    "blocks.#.actions.mouse_in.3": "blocks.#.action_model.mouse_mlp.3",
    "blocks.#.actions.mouse_qkv": "blocks.#.action_model.t_qkv",
    "blocks.#.actions.mouse_norm_q": "blocks.#.action_model.img_attn_q_norm",
    "blocks.#.actions.mouse_norm_k": "blocks.#.action_model.img_attn_k_norm",
    "blocks.#.actions.mouse_out": "blocks.#.action_model.proj_mouse",
    "blocks.#.actions.keyboard_embed": "blocks.#.action_model.keyboard_embed",
    "blocks.#.actions.keyboard_q": "blocks.#.action_model.mouse_attn_q",
    "blocks.#.actions.keyboard_kv": "blocks.#.action_model.keyboard_attn_kv",
    "blocks.#.actions.keyboard_norm_q": "blocks.#.action_model.key_attn_q_norm",
    "blocks.#.actions.keyboard_norm_k": "blocks.#.action_model.key_attn_k_norm",
    "blocks.#.actions.keyboard_out": "blocks.#.action_model.proj_keyboard",
}
# The same in both: attention, norms, feed-forward and the modulation of a block.
ALIKE = re.compile(r"blocks\.\d+\.(self_attn|cross_attn|norm3|ffn|modulation)\b")


def public_name(name: str) -> str:
    """Return the public checkpoint's name of one of our parameters."""
    if ALIKE.match(name):
        return name
    for ours, theirs in PREFIXES.items():
        pattern = re.escape(ours).replace(r"\#", r"(\d+)")
        found = re.fullmatch(pattern + r"((?:\.\d+)?(?:\.(?:weight|bias))?)", name)
        if found is not None:
            *number, rest = found.groups()
            return (theirs.replace("#", number[0]) if number else theirs) + rest
    message = f"{name}: expected one of the names that the public checkpoint has"
    raise ValueError(message)


def public_weights(state: dict[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    """Return parameters as float64 arrays under public names; patch embeddings as Conv3d's."""
    weights = {public_name(name): value.detach().double().numpy() for name, value in state.items()}
    for name in ("patch_embedding.weight", "patch_embedding_wancamctrl.weight"):
        flat = weights[name]
        weights[name] = flat.reshape(len(flat), -1, 1, 2, 2) if "wan" not in name else flat
    return weights
