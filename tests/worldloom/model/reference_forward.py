"""Matrix-Game 3.0's transformer in memory mode, transcribed in float64 numpy; not a test.

Written from the published description alone, one sample at a time and without any of the project's
model code, so that it cannot share a mistake with it. Weights come in a dictionary under the public
checkpoint's names. Rotary angles are read from a table by absolute latent number, actions from
rows of the window, as the public code does.

Letters: M memory latents, T latents of the window, C channels, H W latent rows and columns, L
tokens, E width, N heads, D channels of a head, F frames of the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, Array]

PATCH = 2
TABLE_LENGTH = 2048
ROTARY_BASE = 10_000.0
ROTARY_JITTER = 0.8
ACTION_BASE = 256.0
ACTION_TIME_CHANNELS = 8
FRAMES_PER_LATENT = 4
WINDOW_FRAMES = 12
NO_KEY, NO_MOUSE = -1.0, 1.0


@dataclass(frozen=True)
class Shape:
    """What the weights do not say."""

    num_blocks: int
    num_action_blocks: int
    num_heads: int
    action_num_heads: int
    text_length: int


@dataclass(frozen=True)
class Inputs:
    """One forward of one window."""

    latents: Array  # [C, T, H, W], the known ones first
    memory: Array  # [C, M, H, W]
    timestep: float  # of the new latents; memory and known latents have 0
    num_known: int
    rays: Array  # [6 s s, M + T, H, W]: 6 numbers, then the s x s pixels of a latent's cell
    keyboard: Array  # [F, 6], the window's rows; 4 n + 1 of them in the first window, 4 n later
    mouse: Array  # [F, 2]
    prompt: Array  # [words, text width], words <= text_length
    memory_latents: tuple[int, ...]  # absolute numbers
    first_latent: int  # absolute number of the window's first latent


def forward(weights: Weights, shape: Shape, inputs: Inputs) -> Array:
    """Return the velocity [C, T, H, W] of the window's latents."""
    num_memory = len(inputs.memory_latents)
    video = np.concatenate([inputs.memory, inputs.latents], axis=1)
    _, count, height, width = video.shape
    rows, cols = height // PATCH, width // PATCH
    places = rows * cols

    x = _linear_of_patches(weights, "patch_embedding", video)
    rays = _linear_of_patches(weights, "patch_embedding_wancamctrl", inputs.rays)
    inner = _silu(_linear(weights, "c2ws_hidden_states_layer1", rays))
    rays = rays + _linear(weights, "c2ws_hidden_states_layer2", inner)

    padded = np.zeros((shape.text_length, inputs.prompt.shape[1]))
    padded[: len(inputs.prompt)] = inputs.prompt
    prompt = _gelu(_linear(weights, "text_embedding.0", padded))
    prompt = _linear(weights, "text_embedding.2", prompt)

    clean = num_memory + inputs.num_known
    timesteps = np.repeat([0.0] * clean + [inputs.timestep] * (count - clean), places)
    time = _linear(weights, "time_embedding.0", _sinusoid(timesteps))
    time = _linear(weights, "time_embedding.2", _silu(time))
    modulation = _linear(weights, "time_projection.1", _silu(time)).reshape(len(x), 6, -1)

    numbers = [*inputs.memory_latents, *range(inputs.first_latent, inputs.first_latent + count)]
    turns = _turns(numbers[:count], rows, cols, shape, x.shape[1])
    for index in range(shape.num_blocks):
        name = f"blocks.{index}."
        own = modulation + weights[name + "modulation"]
        normed = _layer_norm(x) * (1 + own[:, 1]) + own[:, 0]
        x = x + own[:, 2] * _attention(weights, name + "self_attn.", shape, normed, normed, turns)
        x = _camera(weights, name, x, rays)
        # In memory mode the residual stream itself becomes its norm.
        x = _layer_norm(x, weights[name + "norm3.weight"], weights[name + "norm3.bias"])
        x = x + _attention(weights, name + "cross_attn.", shape, x, prompt, None)
        if index < shape.num_action_blocks:
            x = _actions(weights, name + "action_model.", shape, x, inputs, places)
        normed = _layer_norm(x) * (1 + own[:, 4]) + own[:, 3]
        x = x + own[:, 5] * _feed_forward(weights, name + "ffn.", normed)

    shift, scale = np.moveaxis(weights["head.modulation"] + time[:, None], 1, 0)
    out = _linear(weights, "head.head", _layer_norm(x) * (1 + scale) + shift)
    out = out.reshape(count, rows, cols, PATCH, PATCH, -1)  # row, column, channel within a patch
    out = out.transpose(5, 0, 1, 3, 2, 4).reshape(-1, count, height, width)
    return out[:, num_memory:]


def _attention(
    weights: Weights, name: str, shape: Shape, x: Array, seen: Array, turns: Array | None
) -> Array:
    """Return attention of tokens [L, E] to others [S, E]; q and k are normed over all heads."""
    query = _rms_norm(_linear(weights, name + "q", x), weights[name + "norm_q.weight"])
    key = _rms_norm(_linear(weights, name + "k", seen), weights[name + "norm_k.weight"])
    value = _linear(weights, name + "v", seen)
    by_head = [part.reshape(len(part), shape.num_heads, -1) for part in (query, key, value)]
    if turns is not None:
        by_head[0], by_head[1] = _turned(by_head[0], turns), _turned(by_head[1], turns)
    return _linear(weights, name + "o", _softmax_attention(*by_head))


def _camera(weights: Weights, name: str, x: Array, rays: Array) -> Array:
    inner = _silu(_linear(weights, name + "cam_injector_layer1", rays))
    hidden = rays + _linear(weights, name + "cam_injector_layer2", inner)
    scale = _linear(weights, name + "cam_scale_layer", hidden)
    return (1 + scale) * x + _linear(weights, name + "cam_shift_layer", hidden)


def _feed_forward(weights: Weights, name: str, x: Array) -> Array:
    return _linear(weights, name + "2", _gelu(_linear(weights, name + "0", x)))


def _actions(
    weights: Weights, name: str, shape: Shape, x: Array, inputs: Inputs, places: int
) -> Array:
    """Add mouse, then keyboard: attention over time, at each place of a latent apart."""
    num_memory = len(inputs.memory_latents)
    x = x.reshape(-1, places, x.shape[1])
    turns = _action_turns(num_memory, len(x), weights[name + "img_attn_q_norm.weight"].size)
    mouse = _windows(inputs.mouse, len(x) - num_memory, num_memory, NO_MOUSE)
    keyboard = _windows(inputs.keyboard, len(x) - num_memory, num_memory, NO_KEY)
    out = np.empty_like(x)
    for place in range(places):
        out[:, place] = x[:, place] + _mouse(weights, name, shape, x[:, place], mouse, turns)
    x = out.copy()
    for place in range(places):
        out[:, place] = x[:, place] + _keyboard(weights, name, shape, x[:, place], keyboard, turns)
    return out.reshape(-1, x.shape[2])


def _mouse(
    weights: Weights, name: str, shape: Shape, x: Array, windows: Array, turns: Array
) -> Array:
    hidden = np.concatenate([x, windows.reshape(len(x), -1)], axis=1)
    hidden = _gelu(_linear(weights, name + "mouse_mlp.0", hidden))
    hidden = _linear(weights, name + "mouse_mlp.2", hidden)
    norm = name + "mouse_mlp.3."
    hidden = _layer_norm(hidden, weights[norm + "weight"], weights[norm + "bias"], eps=1e-5)
    joined = (hidden @ weights[name + "t_qkv.weight"].T).reshape(
        len(x), 3, shape.action_num_heads, -1
    )
    query = _rms_norm(joined[:, 0], weights[name + "img_attn_q_norm.weight"])
    key = _rms_norm(joined[:, 1], weights[name + "img_attn_k_norm.weight"])
    heard = _softmax_attention(_turned(query, turns), _turned(key, turns), joined[:, 2])
    return heard @ weights[name + "proj_mouse.weight"].T


def _keyboard(
    weights: Weights, name: str, shape: Shape, x: Array, windows: Array, turns: Array
) -> Array:
    embedded = _silu(_linear(weights, name + "keyboard_embed.0", windows))
    embedded = _linear(weights, name + "keyboard_embed.2", embedded).reshape(len(x), -1)
    heads = shape.action_num_heads
    query = (x @ weights[name + "mouse_attn_q.weight"].T).reshape(len(x), heads, -1)
    joined = (embedded @ weights[name + "keyboard_attn_kv.weight"].T).reshape(len(x), 2, heads, -1)
    query = _rms_norm(query, weights[name + "key_attn_q_norm.weight"])
    key = _rms_norm(joined[:, 0], weights[name + "key_attn_k_norm.weight"])
    heard = _softmax_attention(_turned(query, turns), _turned(key, turns), joined[:, 1])
    return heard @ weights[name + "proj_keyboard.weight"].T


def _windows(rows: Array, count: int, num_memory: int, sentinel: float) -> Array:
    """Return [M + T, 12, A]: what each latent reads; memory reads that there is no action."""
    is_first = len(rows) % FRAMES_PER_LATENT == 1
    padding = WINDOW_FRAMES if is_first else WINDOW_FRAMES - FRAMES_PER_LATENT
    padded = np.concatenate([np.repeat(rows[:1], padding, axis=0), rows])
    memory = np.full((num_memory, WINDOW_FRAMES, rows.shape[1]), sentinel)
    read = [
        padded[FRAMES_PER_LATENT * i : FRAMES_PER_LATENT * i + WINDOW_FRAMES] for i in range(count)
    ]
    return np.concatenate([memory, np.stack(read)])


def _turns(
    numbers: list[int], rows: int, cols: int, shape: Shape, dim: int
) -> NDArray[np.complex128]:
    """Return the unit complex numbers [L, N, D / 2] that pairs are multiplied by."""
    half = dim // shape.num_heads // 2
    of_space = half // 3
    of_time = half - 2 * of_space
    spread = np.linspace(-1, 1, shape.num_heads)
    bases = ROTARY_BASE * (1 + ROTARY_JITTER * spread)

    def table(pairs: int) -> NDArray[np.complex128]:
        omega = np.stack([base ** -(np.arange(pairs) / pairs) for base in bases])
        return np.exp(1j * np.arange(TABLE_LENGTH)[:, None, None] * omega)

    time, space = table(of_time), table(of_space)
    tokens = [
        np.concatenate([time[number], space[row], space[col]], axis=-1)
        for number in numbers
        for row in range(rows)
        for col in range(cols)
    ]
    return np.stack(tokens)


def _action_turns(num_memory: int, count: int, head_dim: int) -> NDArray[np.complex128]:
    """Return [M + T, 1, D / 2]: few channels turn, and memory counts from a zero of its own."""
    numbers = np.array([*range(num_memory), *range(count - num_memory)])
    pairs = ACTION_TIME_CHANNELS // 2
    angles = np.zeros((count, 1, head_dim // 2))
    angles[:, 0, :pairs] = numbers[:, None] * ACTION_BASE ** -(np.arange(pairs) / pairs)
    return np.exp(1j * angles)


def _turned(x: Array, turns: NDArray[np.complex128]) -> Array:
    """Turn neighbouring channels [L, N, D] as the parts of a complex number."""
    product = (x[..., 0::2] + 1j * x[..., 1::2]) * turns
    return np.stack([product.real, product.imag], axis=-1).reshape(x.shape)


def _softmax_attention(query: Array, key: Array, value: Array) -> Array:
    """Return [L, N D] of queries [L, N, D], keys and values [S, N, D]."""
    scores = np.einsum("lnd,snd->nls", query, key) / np.sqrt(query.shape[-1])
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.einsum("nls,snd->lnd", shares, value).reshape(len(query), -1)


def _linear(weights: Weights, name: str, x: Array) -> Array:
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def _linear_of_patches(weights: Weights, name: str, video: Array) -> Array:
    """Return tokens [L, E] of [C, T, H, W]; a patch is (channel, row, column)."""
    channels, count, height, width = video.shape
    cut = video.reshape(channels, count, height // PATCH, PATCH, width // PATCH, PATCH)
    patches = cut.transpose(1, 2, 4, 0, 3, 5).reshape(-1, channels * PATCH * PATCH)
    weight = weights[name + ".weight"]
    return patches @ weight.reshape(len(weight), -1).T + weights[name + ".bias"]


def _layer_norm(
    x: Array, weight: Array | float = 1.0, bias: Array | float = 0.0, eps: float = 1e-6
) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * weight + bias


def _rms_norm(x: Array, weight: Array) -> Array:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * weight


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _sinusoid(timesteps: Array) -> Array:
    """Return [L, 256]: cosines, then sines."""
    angles = timesteps[:, None] * ROTARY_BASE ** -(np.arange(128) / 128)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
