import dataclasses

import av
import cv2
import numpy as np
import pytest
from tiny_public import CONFIG, save_public_files
from tiny_wan import WAN_CONFIG
from typer.testing import CliRunner

from cli.model import app
from worldloom import presets
from worldloom.actions import Actions, write_actions
from worldloom.camera import Intrinsics
from worldloom.errors import ConfigError, DataError, MachineError
from worldloom.model.vae import wan_vae_config


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return save_public_files(tmp_path_factory.mktemp("public"))[0]


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch):
    """The published preset at the tiny model's size."""
    of_mg3 = presets.preset("mg3-5b")
    update = {"transformer": CONFIG, "intrinsics": Intrinsics.reference(32, 64)}
    tiny = {**presets.PRESETS, "mg3-5b": of_mg3.model_copy(update=update)}
    monkeypatch.setattr(presets, "PRESETS", tiny)

    def tiny_vae(**kept):
        return WAN_CONFIG.model_copy(update=kept)

    monkeypatch.setattr(presets, "WanVAEConfig", tiny_vae)
    monkeypatch.setattr(wan_vae_config, "WanVAEConfig", tiny_vae)


def walk(tmp_path, files, num_frames=96, size=(32, 64), **options):
    generator = np.random.default_rng(0)
    image = tmp_path / "start.png"
    cv2.imwrite(str(image), generator.integers(0, 256, (*size, 3), dtype=np.uint8))
    write_actions(tmp_path / "actions.json", Actions.still(num_frames))
    out = tmp_path / "walk.mp4"
    given = {
        "--transformer": files.transformer,
        "--vae": files.vae,
        "--text": files.text,
        "--image": image,
        "--actions": tmp_path / "actions.json",
        "--out": out,
        "--device": "cpu",
    } | options
    arguments = ["walk", "mg3-5b", *(str(part) for pair in given.items() for part in pair)]
    return CliRunner().invoke(app, arguments), out


@pytest.mark.slow
def test_the_published_files_become_a_film(tmp_path, files):
    result, out = walk(tmp_path, files)
    assert result.exit_code == 0, result.output
    with av.open(str(out)) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == 97
    assert shown[0].shape == (32, 64, 3)
    assert np.std(shown[-1]) > 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"num_frames": 60}, DataError, r"60 frames, expected 56 .* \(56, 96, 136"),
        ({"size": (16, 64)}, DataError, "16x64 pixels, expected 32x64"),
        ({"--set": "segment_latents=12"}, ConfigError, "segment_latents=12"),
        ({"--device": "tpu"}, ConfigError, "device 'tpu'"),
    ],
)
def test_what_does_not_fit_is_refused_before_weights_are_read(
    tmp_path, files, changes, error, words
):
    nowhere = dataclasses.replace(files, transformer=tmp_path / "nowhere")
    result, out = walk(tmp_path, nowhere, **changes)
    assert isinstance(result.exception, error)
    with pytest.raises(error, match=words):
        raise result.exception
    assert not out.exists()


def test_without_a_gpu_the_default_device_is_refused(tmp_path, files):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    result, _ = walk(tmp_path, files, **{"--device": "cuda"})
    assert isinstance(result.exception, MachineError)
