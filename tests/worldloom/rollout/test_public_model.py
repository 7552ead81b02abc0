import numpy as np
import pytest
import torch
from tiny_public import CONFIG, save_public_files
from tiny_wan import WAN_CONFIG

from worldloom.actions import Actions
from worldloom.camera import REFERENCE_KINEMATICS, Intrinsics
from worldloom.diffusion.levels import sampler_levels
from worldloom.errors import ArtifactError, ConfigError
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.public_model import PublicFiles, load_public_model
from worldloom.rollout.reference_session import ReferenceSession

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 64, 3)).astype(np.uint8)
LEVELS = sampler_levels(3)
SAMPLER = SamplerConfig(sigmas=LEVELS.sigmas[:-1], solver="unipc", truncates_timesteps=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return save_public_files(tmp_path_factory.mktemp("public"))


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


@pytest.mark.slow
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


@pytest.mark.slow
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
