"""What an arm changes, and what it leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_weights import BASE_SAMPLER, write_starter
from tiny import tiny_transformer

from worldloom.errors import ArtifactError, ConfigError
from worldloom.experiments.arms import Arm
from worldloom.experiments.networks import WeightFolders, build_arm, frame_size_of
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.vae.video_vae import load_vae, save_decoder
from worldloom.quantize.linear import Int8Linear
from worldloom.quantize.prune import prune_decoder
from worldloom.rollout.config import SamplerConfig
from worldloom.train.model_checkpoint import save_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return WeightFolders([write_starter(tmp_path_factory.mktemp("starter"))], {})


def lessons():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (17, 32, 32, 3)).astype(np.uint8)]


def build(folders, **values):
    return build_arm(
        Arm.model_validate({"name": "a", "title": "one"} | values), folders, 0, CPU, lessons
    )


def test_student_base_and_naive_base_differ_in_weights_and_steps(folders):
    student, base = build(folders), build(folders, weights="base")
    naive = build(folders, weights="base", is_naive=True)
    assert base.model.sampler == BASE_SAMPLER
    assert naive.model.sampler == SamplerConfig(sigmas=SamplerConfig().sigmas, solver="euler")
    first, second, third = (
        b.model.transformer.state_dict()["head.weight"] for b in (student, base, naive)
    )
    assert not torch.equal(first, second)
    assert torch.equal(second, third)


def test_a_base_walks_in_other_steps_along_the_line_through_its_own_levels(folders):
    def sampler(base_steps, **values):
        arm = Arm.model_validate({"name": "a", "title": "one"} | values)
        return build_arm(arm, folders, 0, CPU, lessons, base_steps).model.sampler

    own = BASE_SAMPLER.sigmas
    assert sampler(len(own), weights="base").sigmas == pytest.approx(own)
    twice = sampler(2 * len(own), weights="base")
    assert twice.sigmas[::2] == pytest.approx(own)
    assert twice.sigmas[1] == pytest.approx((own[0] + own[1]) / 2)
    assert twice.solver == BASE_SAMPLER.solver
    assert sampler(9) == build(folders).model.sampler
    naive = {"weights": "base", "is_naive": True}
    assert sampler(9, **naive) == build(folders, **naive).model.sampler


def test_eight_bits_weigh_less(folders):
    full, attention, every = (
        build(folders, quantization=kind) for kind in ("none", "int8-attention", "int8-all")
    )
    assert full.weight_bytes == full.full_weight_bytes
    assert every.weight_bytes < attention.weight_bytes < full.weight_bytes
    assert every.stored_weight_bytes < every.weight_bytes
    assert full.stored_weight_bytes == full.weight_bytes
    for name, value in every.model.transformer.state_dict().items():  # walked as it is stored
        if not name.endswith("weight_scale"):
            assert torch.equal(value.half().to(value), value), name
    kept = [m for m in every.model.transformer.modules() if isinstance(m, Int8Linear)]
    assert len(kept) > 8


def test_a_cut_decoder_is_narrower_and_taught(folders):
    untaught = build(folders, decoder_removed=0.5)
    taught = build(folders, decoder_removed=0.5, decoder_steps=2)
    full = build(folders)
    assert max(untaught.model.decoder.config.decoder_widths) < max(
        full.model.decoder.config.decoder_widths
    )
    first, second = (next(b.model.decoder.parameters()) for b in (untaught, taught))
    assert not torch.equal(first, second)


def test_a_decoder_that_was_taught_is_taken_and_one_of_another_width_refused(tmp_path):
    starter = write_starter(tmp_path / "starter")
    folders = WeightFolders([starter], {})
    vae = load_vae(starter / "vae")
    narrow = prune_decoder(vae.decoder, 0.5).decoder
    with torch.no_grad():
        next(narrow.parameters()).fill_(0.25)
    (starter / "decoder-50").mkdir()
    save_decoder(starter / "decoder-50", narrow)
    built = build(folders, decoder_removed=0.5, decoder_steps=2)
    assert torch.all(next(built.model.decoder.parameters()) == 0.25)
    (starter / "decoder-50").rename(starter / "decoder-25")
    with pytest.raises(ArtifactError, match="expected the VAE's without 25%"):
        build(folders, decoder_removed=0.25)


def test_arms_without_weights_have_no_folders(folders):
    own = Arm(name="own", title="its own", weights="own")
    assert folders.transformers_of(own) == []
    given = WeightFolders(folders.starters, {"own": [folders.starters[0] / "base"] * 2})
    assert len(given.transformers_of(own)) == 2
    assert given.vae_of(1) == folders.starters[0] / "vae"
    assert frame_size_of(given.transformers_of(own)[0]) == (32, 32)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ArtifactError, match="missing"):
        build(WeightFolders([tmp_path], {}))


def test_a_guided_model_is_refused(folders, tmp_path):
    guided = SamplerConfig(guidance_scale=3.0)
    save_model(tmp_path, tiny_transformer(), sampler=guided, retrieval=RetrievalConfig())
    own = WeightFolders(folders.starters, {"a": [tmp_path]})
    with pytest.raises(ConfigError, match="guidance 3, expected a stream without guidance"):
        build(own, weights="own")
