import json

import numpy as np
import pytest
from tiny import CONFIG, FRAME_SIZE, INTRINSICS, tiny_model

from worldloom.actions import Actions
from worldloom.errors import ArtifactError, ConfigError, DataError
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears
from worldloom.rollout.config import ReleaseConfig, SamplerConfig, WorldEntry
from worldloom.rollout.release import load_release, write_release

IMAGE = np.random.default_rng(1).integers(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)


def write(folder, *, quantized=False):
    model = tiny_model()
    if quantized:
        quantize_linears(model.transformer, QuantizeLinearsConfig())
    config = ReleaseConfig(
        transformer=CONFIG,
        intrinsics=INTRINSICS,
        height=FRAME_SIZE[0],
        width=FRAME_SIZE[1],
        worlds=(WorldEntry(name="hall", prompt="a hall"),),
    )
    write_release(
        folder,
        config,
        transformer=model.transformer,
        encoder=model.encoder,
        decoder=model.decoder,
        images={"hall": IMAGE},
    )
    return folder


def segment(release):
    world = release.world("hall")
    session = release.open_session(image=world.image, prompt=world.prompt, seed=3)
    return session.generate_segment(Actions.still(release.frames_per_segment))


def test_a_release_opens_sessions_and_keeps_its_worlds(tmp_path):
    release = load_release(write(tmp_path / "release"))
    assert np.array_equal(release.world("hall").image, IMAGE)
    assert np.array_equal(segment(release), segment(load_release(tmp_path / "release")))


def test_a_quantized_release_differs_a_little(tmp_path):
    plain = segment(load_release(write(tmp_path / "plain"))).astype(float)
    small = segment(load_release(write(tmp_path / "small", quantized=True))).astype(float)
    assert 0 < np.abs(plain - small).mean() < 8


def test_an_unknown_world_is_refused_with_the_known_ones(tmp_path):
    release = load_release(write(tmp_path / "release"))
    with pytest.raises(DataError, match="'cellar': not in this release, expected one of hall"):
        release.world("cellar")


@pytest.mark.parametrize(
    "name", ["release.json", "transformer.safetensors", "decoder.safetensors", "worlds/hall.png"]
)
def test_a_missing_file_is_named(tmp_path, name):
    folder = write(tmp_path / "release")
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        load_release(folder)


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = write(tmp_path / "release")
    values = json.loads((folder / "release.json").read_text())
    values["transformer"]["ffn_dim"] += 8
    (folder / "release.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="do not fit"):
        load_release(folder)


def test_a_mistyped_setting_is_refused(tmp_path):
    folder = write(tmp_path / "release")
    values = json.loads((folder / "release.json").read_text())
    values["sampler"]["sigma"] = [1.0]
    (folder / "release.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"sampler\.sigma: no such setting"):
        load_release(folder)


@pytest.mark.parametrize("sigmas", [(), (0.5, 0.8), (1.2, 0.5), (1.0, 0.0)])
def test_levels_that_do_not_fall_are_refused(sigmas):
    with pytest.raises(ValueError, match="expected falling noise levels"):
        SamplerConfig(sigmas=sigmas)
