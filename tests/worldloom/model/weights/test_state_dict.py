"""Public checkpoints become ours tensor by tensor, or every tensor that does not fit is named.

The public names and shapes are written out here from the public modules (Wan2.2's `WanModel`,
Matrix-Game 3.0's additions and its `ActionModule`), apart from the map that is tested.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_presets import scaled_down, small_transformer
from torch import Tensor, nn

from worldloom.camera import Intrinsics
from worldloom.errors import ArtifactError
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.footprint import meta_transformer
from worldloom.model.geometry import Geometry
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.weights.state_dict import (
    MATRIX_GAME_3,
    WAN22_A14B,
    WAN22_TI2V_5B,
    load_public,
    public_name,
    stream_from_reference,
)
from worldloom.presets import preset, streamed

SHAPE = scaled_down(preset("mg3-5b").transformer)
Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int, *, has_bias: bool = True) -> Shapes:
    weights: Shapes = {f"{name}.weight": (out, into)}
    return {**weights, f"{name}.bias": (out,)} if has_bias else weights


def attention(name: str, dim: int) -> Shapes:
    shapes = {
        key: value for part in "qkvo" for key, value in linear(f"{name}.{part}", dim, dim).items()
    }
    return {**shapes, f"{name}.norm_q.weight": (dim,), f"{name}.norm_k.weight": (dim,)}


def wan_shapes(dim: int, ffn_dim: int, num_blocks: int, channels: int, text_dim: int) -> Shapes:
    """Names and shapes of Wan2.2's WanModel: patch (1, 2, 2), 256 frequencies of time."""
    shapes: Shapes = {
        "patch_embedding.weight": (dim, channels, 1, 2, 2),
        "patch_embedding.bias": (dim,),
        **linear("text_embedding.0", dim, text_dim),
        **linear("text_embedding.2", dim, dim),
        **linear("time_embedding.0", dim, 256),
        **linear("time_embedding.2", dim, dim),
        **linear("time_projection.1", 6 * dim, dim),
        **linear("head.head", 4 * channels, dim),
        "head.modulation": (1, 2, dim),
    }
    for index in range(num_blocks):
        block = f"blocks.{index}"
        shapes |= attention(f"{block}.self_attn", dim) | attention(f"{block}.cross_attn", dim)
        shapes |= {f"{block}.norm3.weight": (dim,), f"{block}.norm3.bias": (dim,)}
        shapes |= linear(f"{block}.ffn.0", ffn_dim, dim) | linear(f"{block}.ffn.2", dim, ffn_dim)
        shapes[f"{block}.modulation"] = (1, 6, dim)
    return shapes


def matrix_game_shapes(
    wan: Shapes, dim: int, num_blocks: int, samples: int, action_blocks: int, hidden: int, key: int,
    heads: int,
) -> Shapes:  # fmt: skip
    """What Matrix-Game 3.0 adds: cameras in every block, actions in the first ones."""
    shapes = {
        **wan,
        **linear("patch_embedding_wancamctrl", dim, 6 * samples**2 * 4),
        **linear("c2ws_hidden_states_layer1", dim, dim),
        **linear("c2ws_hidden_states_layer2", dim, dim),
    }
    for index in range(num_blocks):
        for layer in (
            "cam_injector_layer1",
            "cam_injector_layer2",
            "cam_scale_layer",
            "cam_shift_layer",
        ):
            shapes |= linear(f"blocks.{index}.{layer}", dim, dim)
    for index in range(action_blocks):
        block = f"blocks.{index}.action_model"
        shapes |= {
            **linear(f"{block}.keyboard_embed.0", key, 6),
            **linear(f"{block}.keyboard_embed.2", key, key),
            **linear(f"{block}.mouse_mlp.0", hidden, dim + 2 * 12),
            **linear(f"{block}.mouse_mlp.2", hidden, hidden),
            f"{block}.mouse_mlp.3.weight": (hidden,),
            f"{block}.mouse_mlp.3.bias": (hidden,),
            **linear(f"{block}.t_qkv", 3 * hidden, hidden, has_bias=False),
            **linear(f"{block}.proj_mouse", dim, hidden, has_bias=False),
            **linear(f"{block}.mouse_attn_q", hidden, dim, has_bias=False),
            **linear(f"{block}.keyboard_attn_kv", 2 * hidden, 12 * key, has_bias=False),
            **linear(f"{block}.proj_keyboard", dim, hidden, has_bias=False),
        }
        for norm in ("img_attn_q_norm", "img_attn_k_norm", "key_attn_q_norm", "key_attn_k_norm"):
            shapes[f"{block}.{norm}.weight"] = (hidden // heads,)
    return shapes


SMALL_WAN = wan_shapes(48, 32, 3, 4, 8)
SMALL = matrix_game_shapes(SMALL_WAN, 48, 3, 2, 2, 16, 4, 2)


def drawn(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def written(folder: Path, tensors: dict[str, Tensor]) -> Path:
    """Two shards with an index, as the large public checkpoints are."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, own in shards.items():
        save_file({name: tensors[name].contiguous() for name in own}, folder / shard)
    placed = {name: shard for shard, own in shards.items() for name in own}
    index = {"metadata": {}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_the_public_shapes_are_those_of_the_preset_by_name() -> None:
    """Every parameter of mg3-5b, at full size, against the published configuration."""
    wan = wan_shapes(3072, 14336, 30, 48, 4096)
    published = matrix_game_shapes(wan, 3072, 30, 16, 15, 1024, 128, 16)
    own = meta_transformer(preset("mg3-5b").transformer).state_dict()
    ours = {public_name(name): tuple(tensor.shape) for name, tensor in own.items()}
    assert len(ours) == len(own)
    published["patch_embedding.weight"] = (3072, 192)  # the one that is a view of itself here
    assert ours == published


def test_every_tensor_comes_to_its_place(tmp_path: Path) -> None:
    tensors = drawn(SMALL)
    transformer, loaded = load_public(SHAPE, written(tmp_path / "mg3", tensors), MATRIX_GAME_3)
    own = transformer.state_dict()
    assert set(loaded.loaded) == set(own)
    assert (loaded.left, loaded.unused) == ((), ())
    for name, value in own.items():
        torch.testing.assert_close(
            value, tensors[public_name(name)].reshape(value.shape), rtol=0, atol=0
        )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ray_embed.patch.weight", "patch_embedding_wancamctrl.weight"),
        ("ray_embed.inner.weight", "c2ws_hidden_states_layer1.weight"),
        ("ray_embed.outer.weight", "c2ws_hidden_states_layer2.weight"),
        ("blocks.2.camera.inner.bias", "blocks.2.cam_injector_layer1.bias"),
        ("blocks.2.camera.outer.bias", "blocks.2.cam_injector_layer2.bias"),
        ("blocks.2.camera.scale.weight", "blocks.2.cam_scale_layer.weight"),
        ("blocks.2.camera.shift.weight", "blocks.2.cam_shift_layer.weight"),
        ("blocks.1.actions.mouse_norm_q.weight", "blocks.1.action_model.img_attn_q_norm.weight"),
        ("blocks.1.actions.mouse_norm_k.weight", "blocks.1.action_model.img_attn_k_norm.weight"),
        ("blocks.1.actions.keyboard_norm_q.weight", "blocks.1.action_model.key_attn_q_norm.weight"),
        ("blocks.1.actions.keyboard_norm_k.weight", "blocks.1.action_model.key_attn_k_norm.weight"),
        ("blocks.1.actions.mouse_out.weight", "blocks.1.action_model.proj_mouse.weight"),
        ("blocks.1.actions.keyboard_out.weight", "blocks.1.action_model.proj_keyboard.weight"),
        ("blocks.1.actions.keyboard_q.weight", "blocks.1.action_model.mouse_attn_q.weight"),
        ("blocks.1.actions.mouse_in.3.weight", "blocks.1.action_model.mouse_mlp.3.weight"),
        ("time_embed.2.weight", "time_embedding.2.weight"),
        ("text_embed.2.weight", "text_embedding.2.weight"),
        ("head.weight", "head.head.weight"),
        ("head_modulation", "head.modulation"),
    ],
)
def test_tensors_of_one_shape_are_not_mistaken_for_one_another(
    tmp_path: Path, ours: str, theirs: str
) -> None:
    tensors = drawn(SMALL)
    transformer, _ = load_public(SHAPE, written(tmp_path, tensors), MATRIX_GAME_3)
    assert torch.equal(transformer.state_dict()[ours], tensors[theirs])
    assert public_name(ours) == theirs


def test_a_loaded_network_runs_and_equals_one_with_the_same_weights(tmp_path: Path) -> None:
    whole = small_transformer(SHAPE)
    public = {public_name(name): value for name, value in whole.state_dict().items()}
    patch = public["patch_embedding.weight"]
    public["patch_embedding.weight"] = patch.reshape(48, 4, 1, 2, 2)
    loaded, _ = load_public(SHAPE, written(tmp_path, public), MATRIX_GAME_3)
    torch.testing.assert_close(_answer(loaded), _answer(whole), rtol=0, atol=0)
    half, _ = load_public(SHAPE, tmp_path, MATRIX_GAME_3, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.rope.frequencies.table.dtype == torch.float32


def _answer(transformer: WorldModelTransformer) -> Tensor:
    from small_presets import lively

    from worldloom.model.cost.dry_run import later_segment

    inputs = lively(later_segment(SHAPE), SHAPE)
    with torch.no_grad():
        prepared = transformer.prepare(inputs.conditions)
        return transformer.denoise(inputs.latents, inputs.sigma, prepared)


def test_what_is_missing_extra_or_misshaped_is_named(tmp_path: Path) -> None:
    tensors = drawn(SMALL)
    del tensors["blocks.1.cam_scale_layer.bias"], tensors["head.modulation"]
    tensors["blocks.2.self_attn.norm_q.weight"] = torch.zeros(7)
    tensors["img_emb.proj.0.weight"] = torch.zeros(2)
    with pytest.raises(ArtifactError) as caught:
        load_public(SHAPE, written(tmp_path, tensors), MATRIX_GAME_3)
    sentence = str(caught.value)
    assert "2 missing: blocks.1.camera.scale.bias, head_modulation" in sentence
    assert "1 extra: img_emb.proj.0.weight" in sentence
    assert "blocks.2.self_attn.norm_q.weight is [7], expected [48]" in sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"dim": 96, "num_heads": 4},
            r"\(width 48\), expected Matrix-Game 3.0's names and width 96",
        ),
        ({"num_blocks": 4, "num_text_blocks": 4}, r"\(blocks 3\), expected .* and blocks 4"),
        ({"latent_channels": 16}, r"\(latent channels 4\), expected .* and latent channels 16"),
    ],
)
def test_another_presets_checkpoint_is_refused_in_one_sentence(
    tmp_path: Path, change: dict[str, int], sentence: str
) -> None:
    with pytest.raises(ArtifactError, match=sentence) as caught:
        load_public(SHAPE.model_copy(update=change), written(tmp_path, drawn(SMALL)), MATRIX_GAME_3)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_wan_starts_a_training_with_cameras_and_actions_anew(tmp_path: Path) -> None:
    tensors = drawn(SMALL_WAN)
    source = written(tmp_path, tensors)
    transformer, loaded = load_public(SHAPE, source, WAN22_TI2V_5B, seed=3)
    assert set(loaded.left) == {
        name
        for name in transformer.state_dict()
        if name.startswith("ray_embed.") or ".camera." in name or ".actions." in name
    }
    own = transformer.state_dict()
    assert torch.equal(own["blocks.1.ffn.2.weight"], tensors["blocks.1.ffn.2.weight"])
    assert not any(value.is_meta for value in own.values())
    for name in ("camera.scale", "camera.shift", "actions.mouse_out", "actions.keyboard_out"):
        assert not own[f"blocks.0.{name}.weight"].any(), "so that it begins as Wan does"
    assert own["blocks.0.camera.inner.weight"].std() > 0
    again, _ = load_public(SHAPE, source, WAN22_TI2V_5B, seed=3)
    other, _ = load_public(SHAPE, source, WAN22_TI2V_5B, seed=4)
    name = "blocks.2.camera.inner.weight"
    assert torch.equal(again.state_dict()[name], own[name])
    assert not torch.equal(other.state_dict()[name], own[name])


def test_wan_may_lack_cameras_and_actions_and_nothing_else(tmp_path: Path) -> None:
    lacking = drawn(SMALL_WAN)
    del lacking["blocks.0.cross_attn.o.bias"]
    with pytest.raises(ArtifactError, match=r"1 missing: blocks\.0\.cross_attn\.o\.bias"):
        load_public(SHAPE, written(tmp_path / "lacking", lacking), WAN22_TI2V_5B)
    with pytest.raises(ArtifactError, match=r"extra: .*blocks\.0\.cam_injector_layer1\.bias"):
        load_public(SHAPE, written(tmp_path / "more", drawn(SMALL)), WAN22_TI2V_5B)
    with pytest.raises(ArtifactError, match=r"missing: .*blocks\.0\.actions"):
        load_public(SHAPE, written(tmp_path / "wan", drawn(SMALL_WAN)), MATRIX_GAME_3)


def test_the_large_wan_gives_its_blocks_and_not_its_edges(tmp_path: Path) -> None:
    tensors = drawn(wan_shapes(48, 32, 3, 16, 8))  # of a VAE with other channels
    transformer, loaded = load_public(SHAPE, written(tmp_path, tensors), WAN22_A14B)
    assert {"patch_embed.weight", "head.bias"} <= set(loaded.left)
    assert "head.head.weight" in loaded.unused
    own = transformer.state_dict()
    assert torch.equal(own["blocks.2.modulation"], tensors["blocks.2.modulation"])
    assert torch.equal(own["head_modulation"], tensors["head.modulation"])
    assert not own["head.weight"].any()
    assert own["patch_embed.weight"].any()


def test_a_stream_student_takes_every_tensor_of_its_teacher() -> None:
    teacher = small_transformer(SHAPE)
    student = WorldModelTransformer(streamed(SHAPE, position="panorama", segment_latents=3))
    assert stream_from_reference(teacher.state_dict(), student) == ()
    for name, value in student.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name])


def test_a_place_embedding_is_the_one_thing_that_may_be_new() -> None:
    shape = streamed(SHAPE, position="panorama", segment_latents=3)
    student = WorldModelTransformer(shape.model_copy(update={"has_place_embedding": True}))
    before = student.place_embed.detach().clone()
    assert stream_from_reference(small_transformer(SHAPE).state_dict(), student) == ("place_embed",)
    assert torch.equal(student.place_embed, before)


def test_a_student_of_other_blocks_is_refused() -> None:
    shape = streamed(SHAPE, position="panorama", segment_latents=3)
    student = WorldModelTransformer(shape.model_copy(update={"ffn_dim": 64}))
    state = small_transformer(SHAPE).state_dict()
    del state["head.bias"]
    with pytest.raises(ArtifactError) as caught:
        stream_from_reference(state, student)
    assert "1 missing: head.bias" in str(caught.value)
    assert "blocks.0.ffn.0.weight is [32, 48], expected [64, 48]" in str(caught.value)


@torch.no_grad()
def test_the_patch_embedding_is_the_public_convolution(tmp_path: Path) -> None:
    tensors = drawn(SMALL)
    transformer, _ = load_public(SHAPE, written(tmp_path, tensors), MATRIX_GAME_3)
    latents = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    weight, bias = tensors["patch_embedding.weight"], tensors["patch_embedding.bias"]
    convolved = F.conv3d(latents, weight, bias, stride=(1, 2, 2)).flatten(2).transpose(1, 2)
    ours = transformer.patch_embed(transformer.to_patches(latents))
    torch.testing.assert_close(ours, convolved, rtol=1e-5, atol=1e-5)


def test_the_output_is_unfolded_as_the_public_model_does() -> None:
    """Wan2.2's unpatchify: [f h w, p q r, c] to [c, f p, h q, w r]."""
    transformer = WorldModelTransformer(SHAPE)
    tokens = torch.randn(1, 3, 4, 16, generator=torch.Generator().manual_seed(1))
    public = torch.einsum("fhwpqrc->cfphqwr", tokens[0].reshape(3, 2, 2, 1, 2, 2, 4))
    assert torch.equal(transformer.to_latents(tokens)[0], public.reshape(4, 3, 4, 4))


def test_rays_are_folded_as_the_public_model_does() -> None:
    """Pixels to (c, row in a latent pixel, column in it), then to (.., row, column in a patch)."""
    shape = TransformerConfig.model_validate(
        {**SHAPE.model_dump(), "spatial_stride": 2, "ray_samples": 2}
    )
    geometry = Geometry(shape, Intrinsics.reference(*shape.frame_size))
    pose = torch.eye(4)[None, None]
    pose[..., :3, 3] = torch.tensor([0.3, -0.2, 0.5])
    ours = geometry.rays(pose)[0, 0]
    xs = (torch.arange(8) + 0.5 - 4) / 4
    grid_y, grid_x = torch.meshgrid(xs, xs, indexing="ij")
    directions = F.normalize(torch.stack([grid_x, grid_y, torch.ones_like(grid_x)], -1), dim=-1)
    pixels = torch.cat([pose[0, 0, :3, 3].expand_as(directions), directions], dim=-1)
    # (h c1) (w c2) c -> (c c1 c2) h w, then c (h c2) (w c3) -> (h w) (c c2 c3)
    cells = pixels.reshape(4, 2, 4, 2, 6).permute(4, 1, 3, 0, 2).reshape(24, 4, 4)
    public = cells.reshape(24, 2, 2, 2, 2).permute(1, 3, 0, 2, 4).reshape(4, 96)
    torch.testing.assert_close(ours, public, rtol=1e-5, atol=1e-6)


def test_the_mouse_splits_into_query_key_and_value_as_the_public_module_does() -> None:
    actions = small_transformer(SHAPE).blocks[0].actions
    joined = torch.randn(1, 2, 4, 48, generator=torch.Generator().manual_seed(1))
    query, key, value = actions._heads(joined, 3)
    public = joined.reshape(1, 2, 4, 3, 2, 8)  # "B L (K H D) -> K B L H D", K=3
    for index, part in enumerate((query, key, value)):
        assert torch.equal(part, public[:, :, :, index])


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "diffusion_pytorch_model.pth"
    torch.save(nn.Linear(1, 1).state_dict(), path)
    with pytest.raises(ArtifactError, match="would be unpickled"):
        load_public(SHAPE, path, MATRIX_GAME_3)
