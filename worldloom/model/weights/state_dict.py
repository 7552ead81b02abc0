"""Other projects' names of a transformer's tensors, and how their checkpoints become ours.

The only place that knows them: Wan2.2's names, and what Matrix-Game 3.0 adds to them for cameras
and actions (its `wan/modules/model.py` and `action_module.py`; the same names are listed by the
ports of FastVideo and LightX2V). No tensor changes but by a view: the patch embedding is a Conv3d
[E, C, 1, p, p] there and a Linear [E, C p p] here. Orders agree: rotary pairs are channels
(2i, 2i + 1); a patch is (C, row, column) where it comes in and (row, column, C) where it goes out;
a token's rays are (origin and direction, row and column in the latent pixel, row and column in the
patch); q, k and v of the mouse are (3, heads, channels).

How files are compared, mapped and assigned is `load_weights`' business.

Letters: E width, C latent channels, p edge of a patch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from worldloom.errors import ArtifactError
from worldloom.model.action_module import ActionModule
from worldloom.model.block import TransformerBlock
from worldloom.model.camera_injection import CameraInjector, RayEmbedding
from worldloom.model.config import TransformerConfig
from worldloom.model.geometry import ray_dim
from worldloom.model.rope import Frequencies
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.weights.load_weights import LoadedWeights, load_weights
from worldloom.model.weights.weight_files import (
    Source,
    TensorHeader,
    checkpoint_label,
    describe_checkpoint,
)
from worldloom.model.weights.weight_names import NameMap, NameRule, in_order

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_WAN = (
    NameRule("patch_embedding.weight", "patch_embed.weight", is_flattened=True),
    NameRule("patch_embedding.bias", "patch_embed.bias"),
    NameRule("text_embedding.#.*", "text_embed.#.*"),
    NameRule("time_embedding.#.*", "time_embed.#.*"),
    NameRule("time_projection.1.*", "time_projection.1.*"),
    NameRule("blocks.#.self_attn.*", "blocks.#.self_attn.*"),
    NameRule("blocks.#.cross_attn.*", "blocks.#.cross_attn.*"),
    NameRule("blocks.#.norm3.*", "blocks.#.norm3.*"),
    NameRule("blocks.#.ffn.#.*", "blocks.#.ffn.#.*"),
    NameRule("blocks.#.modulation", "blocks.#.modulation"),
    NameRule("head.head.*", "head.*"),
    NameRule("head.modulation", "head_modulation"),
)
_CAMERA = (
    NameRule("patch_embedding_wancamctrl.*", "ray_embed.patch.*"),
    NameRule("c2ws_hidden_states_layer1.*", "ray_embed.inner.*"),
    NameRule("c2ws_hidden_states_layer2.*", "ray_embed.outer.*"),
    NameRule("blocks.#.cam_injector_layer1.*", "blocks.#.camera.inner.*"),
    NameRule("blocks.#.cam_injector_layer2.*", "blocks.#.camera.outer.*"),
    NameRule("blocks.#.cam_scale_layer.*", "blocks.#.camera.scale.*"),
    NameRule("blocks.#.cam_shift_layer.*", "blocks.#.camera.shift.*"),
)
_ACTIONS = tuple(
    NameRule(f"blocks.#.action_model.{theirs}", f"blocks.#.actions.{ours}")
    for theirs, ours in (
        ("keyboard_embed.#.*", "keyboard_embed.#.*"),
        ("mouse_mlp.#.*", "mouse_in.#.*"),
        ("t_qkv.*", "mouse_qkv.*"),
        ("img_attn_q_norm.*", "mouse_norm_q.*"),
        ("img_attn_k_norm.*", "mouse_norm_k.*"),
        ("proj_mouse.*", "mouse_out.*"),
        ("mouse_attn_q.*", "keyboard_q.*"),  # named for the mouse there, and reads tokens for keys
        ("keyboard_attn_kv.*", "keyboard_kv.*"),
        ("key_attn_q_norm.*", "keyboard_norm_q.*"),
        ("key_attn_k_norm.*", "keyboard_norm_k.*"),
        ("proj_keyboard.*", "keyboard_out.*"),
    )
)
_OF_OTHER_VAE = (NameRule("patch_embedding.*", None), NameRule("head.head.*", None))
_CAMERA_AND_ACTIONS = ("ray_embed.*", "blocks.#.camera.*", "blocks.#.actions.*")


@dataclass(frozen=True)
class PublicCheckpoint:
    """A kind of checkpoint that others publish."""

    title: str
    names: NameMap
    new: tuple[str, ...] = ()  # our names that it does not have, all of which start anew


MATRIX_GAME_3 = PublicCheckpoint("Matrix-Game 3.0", NameMap(*_WAN, *_CAMERA, *_ACTIONS))
WAN22_TI2V_5B = PublicCheckpoint("Wan2.2-TI2V-5B", NameMap(*_WAN), _CAMERA_AND_ACTIONS)
# Its patch embedding and output belong to a VAE of 16 channels and stride 8.
WAN22_A14B = PublicCheckpoint(
    "Wan2.2-A14B",
    NameMap(*_OF_OTHER_VAE, *_WAN),
    (*_CAMERA_AND_ACTIONS, "patch_embed.*", "head.*"),
)
_TO_PUBLIC = NameMap(
    *(
        NameRule(rule.target, rule.source, rule.is_flattened)
        for rule in MATRIX_GAME_3.names.rules
        if rule.target is not None
    )
)


def load_public(
    config: TransformerConfig,
    source: Source,
    checkpoint: PublicCheckpoint,
    *,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> tuple[WorldModelTransformer, LoadedWeights]:
    """Build a transformer from a public checkpoint; on the CPU its weights stay mapped.

    Args:
        config: the shape to expect.
        source: a file, files, an index or a folder.
        checkpoint: whose names they are.
        seed: of what the checkpoint lacks by its kind, which is initialised as in a new network.
        dtype: what floating weights become; None leaves each as the file has it (new ones are
            float32 then).
        device: where the weights go.

    Raises:
        ArtifactError: for a checkpoint of another shape, or naming every tensor that is missing,
            extra or misshaped; nothing has been loaded then.
    """
    _require_shape(config, source, checkpoint)
    with torch.device("meta"):
        transformer = WorldModelTransformer(config)
    for module in transformer.modules():
        if isinstance(module, Frequencies):
            module.to_empty(device="cpu")  # works them out again, since no checkpoint holds them
    loaded = load_weights(
        transformer,
        source,
        rename=checkpoint.names,
        optional=checkpoint.new,
        dtype=dtype,
        device=device,
    )
    _start_anew(transformer, loaded.left, seed, dtype)
    return transformer.to(device), loaded


def public_name(name: str) -> str:
    """Return Matrix-Game 3.0's name of a transformer's parameter."""
    placement = _TO_PUBLIC(name)
    assert placement is not None, "the map to public names drops none"
    return placement.name


def stream_from_reference(
    reference: Mapping[str, Shaped[Tensor, "*_"]], student: WorldModelTransformer
) -> tuple[str, ...]:
    """Start a stream student with the weights of a reference transformer of the same blocks.

    All names are equal. Return the student's parameters that the reference lacks, which stay as
    they are: none, but for a place embedding that the student alone has.

    Raises:
        ArtifactError: naming what the student lacks, misses otherwise, or has in another shape.
    """
    own = student.state_dict()
    new = tuple(in_order(set(own) - set(reference)))
    faults = {
        "missing": {name for name in new if name != "place_embed"},
        "extra": set(reference) - set(own),
        "misshaped": {
            f"{name} is {list(value.shape)}, expected {list(own[name].shape)}"
            for name, value in reference.items()
            if name in own and value.shape != own[name].shape
        },
    }
    told = [
        f"{len(names)} {kind}: {', '.join(in_order(names))}"
        for kind, names in faults.items()
        if names
    ]
    if told:
        message = (
            f"reference weights do not fit a stream student of width {student.config.dim} and "
            f"{student.config.num_blocks} blocks, {'; '.join(told)}"
        )
        raise ArtifactError(message)
    student.load_state_dict({**own, **reference})
    return new


def _require_shape(config: TransformerConfig, source: Source, checkpoint: PublicCheckpoint) -> None:
    """Refuse another model's checkpoint in one sentence instead of naming all its tensors."""
    found = _shape_in(describe_checkpoint(source), checkpoint)
    expected = {
        "width": config.dim,
        "blocks": config.num_blocks,
        "ffn width": config.ffn_dim,
        "latent channels": config.latent_channels,
    }
    wrong = {name: value for name, value in expected.items() if found.get(name, value) != value}
    if wrong:
        there = ", ".join(f"{name} {found[name]}" for name in wrong)
        wanted = ", ".join(f"{name} {value}" for name, value in wrong.items())
        message = (
            f"{checkpoint_label(source)}: weights of another model than the one asked for ({there})"
            f", expected {checkpoint.title}'s names and {wanted}"
        )
        raise ArtifactError(message)


def _shape_in(
    headers: Mapping[str, TensorHeader], checkpoint: PublicCheckpoint
) -> Mapping[str, int]:
    """Return what a checkpoint's tensors say of its shape, as far as they are there."""
    shape: dict[str, int] = {}
    blocks = set()
    for name, header in headers.items():
        placement = checkpoint.names(name)
        if placement is None:
            continue
        parts = placement.name.split(".")
        if parts[0] == "blocks" and len(parts) > 1:
            blocks.add(parts[1])
        if placement.name == "patch_embed.weight" and len(header.shape) > 1:
            shape["latent channels"] = header.shape[1]
        elif placement.name == "blocks.0.ffn.0.weight":
            shape["ffn width"], shape["width"] = header.shape
    if blocks:
        shape["blocks"] = len(blocks)
    return shape


def _start_anew(
    transformer: WorldModelTransformer, left: Collection[str], seed: int, dtype: torch.dtype | None
) -> None:
    """Put initialised modules in the places of those that are left without memory."""
    config = transformer.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if _is_left("ray_embed", left):
            transformer.ray_embed = _in_type(RayEmbedding(ray_dim(config), config.dim), dtype)
        if _is_left("patch_embed", left):
            transformer.patch_embed = _in_type(nn.Linear(config.patch_channels, config.dim), dtype)
        if _is_left("head", left):
            transformer.head = _in_type(nn.Linear(config.dim, config.patch_channels), dtype)
            nn.init.zeros_(transformer.head.weight)
            nn.init.zeros_(transformer.head.bias)
        for index, block in enumerate(_blocks(transformer)):
            if _is_left(f"blocks.{index}.camera", left):
                block.camera = _in_type(CameraInjector(config.dim), dtype)
            if _is_left(f"blocks.{index}.actions", left):
                block.actions = _in_type(ActionModule(config), dtype)


def _is_left(prefix: str, left: Collection[str]) -> bool:
    return any(name.startswith(prefix + ".") for name in left)


def _in_type(module: ModuleT, dtype: torch.dtype | None) -> ModuleT:
    """Convert a module's parameters alone: tables of frequencies stay precise."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype or parameter.dtype)
    return module


def _blocks(transformer: WorldModelTransformer) -> Iterator[TransformerBlock]:
    for block in transformer.blocks:
        assert isinstance(block, TransformerBlock)
        yield block
