"""What the autoencoder alone makes, and films beside that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_weights import write_starter

from worldloom.evaluate.video_quality import psnr_db, sharpness_ratio
from worldloom.experiments.arms import Arm
from worldloom.experiments.networks import WeightFolders, build_arm
from worldloom.experiments.reconstruction import reconstruction_figures
from worldloom.experiments.walks import to_frames
from worldloom.train.vae_windows import to_video


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folders = WeightFolders([write_starter(tmp_path_factory.mktemp("starter"))], {})
    return build_arm(Arm(name="a", title="one"), folders, 0, torch.device("cpu"), list)


def recording(num_frames):
    generator = np.random.default_rng(0)
    return generator.integers(0, 255, (num_frames, 32, 32, 3)).astype(np.uint8)


def rebuilt_by_hand(built, frames):
    with torch.inference_mode():
        return to_frames(built.vae.decode(built.vae.encode(to_video(frames))))[0].numpy()


def test_the_decoders_own_film_is_as_sharp_as_it_can_be(built):
    recorded = recording(17)
    rebuilt = rebuilt_by_hand(built, recorded)
    found = reconstruction_figures(
        built, rebuilt, recorded, first=1, segment_frames=4, most_judged_frames=16
    )
    assert found["sharpness_over_reconstruction"] == pytest.approx(1.0, rel=0.02)
    assert found["reconstruction_psnr_db"] == pytest.approx(
        psnr_db(rebuilt, recorded).mean(), abs=0.05
    )
    assert found["reconstruction_sharpness_ratio"] == pytest.approx(
        sharpness_ratio(rebuilt[1:], recorded[1:]), rel=0.02
    )


def test_a_film_is_judged_from_the_first_frame_that_was_made(built):
    recorded = recording(17)
    rebuilt = rebuilt_by_hand(built, recorded)
    flat = rebuilt.copy()
    flat[5:] = 128
    flat[5:, 0, 0] = 0
    told = {
        first: reconstruction_figures(
            built, flat, recorded, first=first, segment_frames=4, most_judged_frames=16
        )
        for first in (1, 5)
    }
    whole, late = (told[first]["sharpness_over_reconstruction"] for first in (1, 5))
    assert late < 0.1 < whole


def test_a_long_recording_has_no_figure(built):
    frames = np.zeros((401, 32, 32, 3), np.uint8)
    found = reconstruction_figures(
        built, frames, frames, first=1, segment_frames=4, most_judged_frames=16
    )
    assert set(found.values()) == {None}


def test_what_a_walk_itself_does_to_psnr_is_no_loss_of_the_film(built):
    recorded = recording(4 * 12 + 1)
    recorded[25:] = recorded[25:] // 8 + 100  # what comes later is easier to rebuild
    rebuilt = rebuilt_by_hand(built, recorded)
    spoilt = rebuilt.copy()
    spoilt[-4:] = 255
    losses = [
        reconstruction_figures(
            built, film, recorded, first=1, segment_frames=4, most_judged_frames=16
        )["loss_beyond_reconstruction_db"]
        for film in (rebuilt, spoilt)
    ]
    assert losses[0] == pytest.approx(0.0, abs=0.05)
    assert losses[1] > 1.0
