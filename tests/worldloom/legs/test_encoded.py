"""Latents are encoded once for each encoder."""

from dataclasses import replace

import pytest
import torch

from worldloom.legs.clip_file import StoredClip
from worldloom.legs.encoded import EncodedClips
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VideoVAE
from worldloom.train.clip_context import ClipBatch

CPU = torch.device("cpu")


def vae(seed: int) -> VideoVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VideoVAE(VAEConfig(latent_channels=4, encoder_widths=(8,), decoder_widths=(8,)))


@pytest.fixture
def clip() -> StoredClip:
    frames = torch.randint(0, 256, (9, 16, 16, 3), dtype=torch.uint8)
    none = torch.zeros(0)
    segmented = ClipBatch(none, none, none, none, none, none, none)
    return StoredClip("procedural-1", "procedural", "A room.", frames, none, none, none, segmented)


def test_what_was_encoded_is_found_again_by_the_same_encoder(tmp_path, clip):
    first = EncodedClips(vae(0), tmp_path, CPU)(clip)
    assert first.shape == (3, 4, 2, 2)
    assert first.dtype == torch.float16
    black = replace(clip, frames=torch.zeros_like(clip.frames))  # what is found needs no frames
    assert torch.equal(EncodedClips(vae(0), tmp_path, CPU)(black), first)


def test_another_encoder_takes_no_latents_of_the_first(tmp_path, clip):
    first = EncodedClips(vae(0), tmp_path, CPU)(clip)
    assert not torch.equal(EncodedClips(vae(1), tmp_path, CPU)(clip), first)


def test_another_decoder_does(tmp_path, clip):
    one, other = vae(0), vae(0)
    other.decoder.load_state_dict(vae(1).decoder.state_dict())
    assert EncodedClips(one, tmp_path, CPU).folder == EncodedClips(other, tmp_path, CPU).folder


def test_a_spoilt_file_is_written_anew(tmp_path, clip):
    encoded = EncodedClips(vae(0), tmp_path, CPU)
    first = encoded(clip)
    (path,) = encoded.folder.iterdir()
    path.write_bytes(b"spoilt")
    assert torch.equal(encoded(clip), first)
    assert torch.equal(EncodedClips(vae(0), tmp_path, CPU)(clip), first)
