"""Pasts that were given: what is lost behind spoilt ones, and against teacher forcing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import VAE_CONFIG, tiny_model

from worldloom.evaluate.suite import session_poses
from worldloom.experiments.figure_list import FIGURES
from worldloom.experiments.memory_plan import Retrieval, plan_context
from worldloom.experiments.probes import CORRUPTIONS, ProbeConfig, Walks, figure_names, probed
from worldloom.experiments.walks import cut_short, films, walk
from worldloom.model.vae.video_vae import VideoVAE

CONFIG = ProbeConfig(given_segments=2, more_segments=3)


@pytest.fixture(scope="module")
def walks(cases):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = VideoVAE(VAE_CONFIG).eval()
    model = tiny_model()
    retrieval = Retrieval(model.transformer.config, model.retrieval, model.bank, model.intrinsics)
    two = cases[:2]
    plans = [plan_context(session_poses(case), "none", retrieval, 0) for case in two]
    made = films(model, walk(model, two, plans, [1, 2]).latents)
    return Walks(model, two, plans, [1, 2], vae.encode, made)


def test_all_figures_are_known_to_books():
    assert set(figure_names()) <= set(FIGURES)


def test_what_was_not_asked_for_is_none(walks):
    assert probed(walks, (), CONFIG) == [dict.fromkeys(figure_names())] * 2
    [first, _] = probed(walks, ("forced",), CONFIG)
    assert first["noise_loss_db"] is None
    assert first["forced_psnr_db"] > 0


def test_the_first_segment_has_no_past_of_its_own_to_lose_by(walks):
    """A walk of one segment is made behind the start frame alone, forced or not."""
    short = Walks(
        walks.model,
        [cut_short(case, 13) for case in walks.cases],
        [type(plan)(plan.chosen[:1], plan.is_valid[:1]) for plan in walks.plans],
        walks.seeds,
        lambda video: walks.model.encoder(video)[0],
        [film[:13] for film in walks.made],
    )
    for values in probed(short, ("forced",), CONFIG):
        assert values["own_past_loss_db"] == pytest.approx(0.0, abs=1e-6)
        assert values["own_past_slope_db_per_segment"] is None


@pytest.mark.slow
def test_a_past_that_is_hardly_spoilt_costs_hardly_anything(walks):
    slightly = CONFIG.model_copy(
        update={"noise_strength": 1e-4, "blur_pixels": 0.05, "estimate_sigma": 1e-3}
    )
    much = ProbeConfig(noise_strength=3.0, blur_pixels=4.0, given_segments=2, more_segments=3)
    little, large = (probed(walks, ("corrupted",), config) for config in (slightly, much))
    for kind in CORRUPTIONS:
        few, many = (
            np.mean([abs(values[f"{kind}_loss_db"]) for values in found])
            for found in (little, large)
        )
        assert few < 0.1 * many


def test_a_walk_too_short_to_go_on_has_no_figure(walks):
    long = CONFIG.model_copy(update={"given_segments": 4})
    assert probed(walks, ("corrupted",), long)[0]["blur_loss_db"] is None
