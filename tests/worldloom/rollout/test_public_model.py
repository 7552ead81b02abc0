import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_text import TINY as TINY_TEXT
from tiny_text import save_public_folder
from tiny_wan import WAN_CONFIG, tiny_wan_vae

from worldloom.actions import Actions
from worldloom.camera import REFERENCE_KINEMATICS, Intrinsics
from worldloom.diffusion.levels import sampler_levels
from worldloom.errors import ArtifactError, ConfigError
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.wan_vae_weights import save_wan_weights
from worldloom.model.weights.state_dict import public_name
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.public_model import PublicFiles, load_public_model
from worldloom.rollout.reference_session import ReferenceSession

CONFIG = TransformerConfig(
    layout="reference", position="lattice", translation="relative", is_residual_normed=True,
    has_place_embedding=False, latent_channels=4, latent_height=2, latent_width=4,
    spatial_stride=16, ray_samples=16, dim=48, num_blocks=2, num_heads=2, ffn_dim=64,
    rope_jitter=0.8, max_memory_gap=2033, num_action_blocks=1, action_dim=32, action_num_heads=2,
    text="umt5", num_text_blocks=2, text_dim=TINY_TEXT.dim, text_length=512,
    first_segment_latents=15, segment_latents=10, num_past_latents=4, num_memory_latents=5,
)  # fmt: skip
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 64, 3)).astype(np.uint8)
LEVELS = sampler_levels(3)
SAMPLER = SamplerConfig(sigmas=LEVELS.sigmas[:-1], solver="unipc", truncates_timesteps=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The three parts as their publishers name them, the transformer in two shards."""
    root = tmp_path_factory.mktemp("public")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = WorldModelTransformer(CONFIG)
        for parameter in transformer.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.05)
    tensors = {public_name(name): p.detach() for name, p in transformer.named_parameters()}
    patch = tensors["patch_embedding.weight"]
    tensors["patch_embedding.weight"] = patch.reshape(-1, 4, 1, 2, 2)
    shards, folder = {}, root / "base_distilled_model"
    folder.mkdir()
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        shard = f"diffusion_pytorch_model-{number}.safetensors"
        save_file({name: tensors[name].contiguous() for name in names}, folder / shard)
        shards |= dict.fromkeys(names, shard)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    vae = root / "Wan2.2_VAE.safetensors"
    save_wan_weights(vae, tiny_wan_vae(), dtype=torch.float32)
    save_public_folder(root / "text")
    return PublicFiles(folder, vae, root / "text"), transformer


def load(files, **changes):
    return load_public_model(
        files,
        CONFIG,
        WAN_CONFIG,
        sampler=SAMPLER,
        kinematics=REFERENCE_KINEMATICS,
        intrinsics=Intrinsics.reference(32, 64),
        **({"dtype": torch.float32} | changes),
    )


def test_the_published_files_make_a_model_that_walks(files):
    model = load(files[0])
    for name, parameter in files[1].named_parameters():
        assert torch.equal(parameter, model.transformer.get_parameter(name)), name
    session = ReferenceSession(model, image=IMAGE, prompt="A walk through a hall.", seed=0)
    for count in (56, 40):
        frames = session.generate_segment(Actions.still(count))
        assert frames.shape == (count, 32, 64, 3)
        assert frames.std() > 1
    other = ReferenceSession(model, image=IMAGE, prompt="Water drips.", seed=0)
    told = other.generate_segment(Actions.still(56))
    again = ReferenceSession(model, image=IMAGE, prompt="A walk through a hall.", seed=0)
    assert not np.array_equal(told, again.generate_segment(Actions.still(56)))


def test_in_bfloat16_the_walk_stays_close(files):
    walked = []
    for dtype in (torch.float32, torch.bfloat16):
        session = ReferenceSession(load(files[0], dtype=dtype), image=IMAGE, prompt="x", seed=0)
        walked.append(session.generate_segment(Actions.still(56)).astype(float))
    assert abs(walked[0] - walked[1]).mean() < 2.0  # levels of 255


def test_without_an_encoder_a_prompt_is_refused(files):
    model = load(PublicFiles(files[0].transformer, files[0].vae))
    with pytest.raises(ConfigError, match="no prompt encoder was given"):
        ReferenceSession(model, image=IMAGE, prompt="a hall", seed=0)


def test_weights_of_another_preset_are_refused(files):
    other = CONFIG.model_copy(update={"num_blocks": 3})
    with pytest.raises(ArtifactError, match="block"):
        load_public_model(
            files[0],
            other,
            WAN_CONFIG,
            sampler=SAMPLER,
            kinematics=REFERENCE_KINEMATICS,
            intrinsics=Intrinsics.reference(32, 64),
        )
