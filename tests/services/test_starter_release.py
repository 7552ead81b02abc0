"""A release of starter weights: made once, in 8 bits, with their places, and it walks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from services.starter_release import starter_release
from tests.worldloom import tiny
from worldloom.actions import Actions
from worldloom.artifacts import verify_folder
from worldloom.errors import ArtifactError
from worldloom.legs.carried import CARRIED
from worldloom.legs.places import write_places
from worldloom.memory.config import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VideoVAE, save_decoder, save_vae
from worldloom.quantize.linear import Int8Linear
from worldloom.rollout.config import SamplerConfig, WorldEntry
from worldloom.rollout.release import load_release
from worldloom.train.model_checkpoint import save_model

VAE = VAEConfig(latent_channels=4, encoder_widths=(8, 8), decoder_widths=(16, 8))
VIEW = np.full((*tiny.FRAME_SIZE, 3), 90, np.uint8)


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    for part in ("vae", "student"):
        (folder / part).mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student, vae = WorldModelTransformer(tiny.CONFIG), VideoVAE(VAE)
    save_vae(folder / "vae", vae)
    save_model(folder / "student", student, sampler=SamplerConfig(), retrieval=RetrievalConfig())
    entries = (WorldEntry(name=name, prompt=f"a {name}") for name in ("pool", "alley"))
    write_places(folder, dict.fromkeys(entries, VIEW))
    return folder


def test_it_is_made_once_and_walks(tmp_path: Path, starter: Path) -> None:
    folder = tmp_path / "starter"
    digest = starter_release(folder, starter)
    written = (folder / "manifest.json").stat().st_mtime_ns
    assert starter_release(folder, starter) == digest
    assert (folder / "manifest.json").stat().st_mtime_ns == written
    assert verify_folder(folder, digest).digest == digest
    assert {path.name for path in tmp_path.iterdir()} == {"starter", "weights"}
    release = load_release(folder)
    assert [world.name for world in release.worlds] == ["pool", "alley"]
    world = release.worlds[0]
    assert np.array_equal(world.image, VIEW)
    session = release.open_session(image=world.image, prompt=world.prompt, seed=0)
    frames = session.generate_segment(Actions.still(release.frames_per_segment))
    assert frames.shape == (release.frames_per_segment, *tiny.FRAME_SIZE, 3)


def test_it_is_made_anew_of_other_weights(tmp_path: Path, starter: Path) -> None:
    folder = tmp_path / "starter"
    first = starter_release(folder, starter)
    write_places(starter, {WorldEntry(name="yard", prompt="a yard"): VIEW})
    second = starter_release(folder, starter)
    assert second != first
    assert [world.name for world in load_release(folder).worlds] == ["yard"]
    assert starter_release(folder, starter) == second


def test_its_large_layers_are_in_8_bits(tmp_path: Path, starter: Path) -> None:
    starter_release(tmp_path / "starter", starter)
    transformer = load_release(tmp_path / "starter").model.transformer
    assert isinstance(transformer, nn.Module)
    assert any(isinstance(module, Int8Linear) for module in transformer.modules())


def test_a_narrow_decoder_is_taken_where_there_is_one(tmp_path: Path, starter: Path) -> None:
    starter_release(tmp_path / "wide", starter)
    with torch.random.fork_rng(devices=[]):
        narrow = VideoVAE(VAE.model_copy(update={"decoder_widths": (8, 8)})).decoder
    (starter / "decoder-50").mkdir()
    save_decoder(starter / "decoder-50", narrow)
    starter_release(tmp_path / "narrow", starter)
    wide_size, narrow_size = (
        sum(p.numel() for p in load_release(tmp_path / name).model.decoder.parameters())
        for name in ("wide", "narrow")
    )
    assert narrow_size < wide_size


def test_a_starter_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not there, expected vae and student"):
        starter_release(tmp_path / "starter", tmp_path / "nothing")
    assert not (tmp_path / "starter").exists()


@pytest.mark.slow
def test_the_carried_weights_know_their_place(tmp_path: Path) -> None:
    starter_release(tmp_path / "starter", CARRIED)
    release = load_release(tmp_path / "starter")
    world = release.worlds[0]
    session = release.open_session(image=world.image, prompt=world.prompt, seed=0)
    frames = session.generate_segment(Actions.still(release.frames_per_segment))
    assert np.abs(frames[0].astype(int) - world.image).mean() < 30
