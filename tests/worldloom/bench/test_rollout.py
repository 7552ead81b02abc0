import pytest
import torch
from tiny import CONFIG, tiny_reference_model

from worldloom.bench.rollout import (
    LIGHT_DECODER_LACKS,
    RolloutBenchConfig,
    measure_rollout,
    random_world,
)
from worldloom.errors import ConfigError
from worldloom.memory.config import BankConfig
from worldloom.model.config import TransformerConfig
from worldloom.presets import preset

CPU = torch.device("cpu")
SHAPE = CONFIG.model_copy(update={"latent_channels": 16})
SMALL = {
    "num_frames": 100,
    "full_after_frames": 50,
    "look_every_segments": 1,
    "num_samples": 2,
    "num_warmup": 1,
    "bank": BankConfig(capacity=12, recent_latents=6),
}


@pytest.mark.slow
def test_a_walk_is_measured_to_its_end():
    told = []
    found = measure_rollout(
        RolloutBenchConfig(**SMALL), SHAPE, CPU, "a command", lambda *made: told.append(made)
    )
    long, young, resident = found.measurements
    assert told[-1] == (109, 100)
    assert "session of 145 frames" in long.name  # 109, and three segments more while timed
    assert "session of 97 frames" in young.name
    assert long.num_samples == young.num_samples == 2
    assert resident.num_samples == 5  # after the segments that end at frames 61, 73 ... 109
    finite, _, _ = found.bars
    assert (finite.value, finite.is_met) == (1.0, True)


@pytest.mark.slow
def test_a_segment_that_is_not_finite_shows(monkeypatch):
    model = random_world(SHAPE, SMALL["bank"], 0, CPU)
    torch.nn.init.constant_(model.transformer.head.bias, float("nan"))
    monkeypatch.setattr("worldloom.bench.rollout.random_world", lambda *_: model)
    found = measure_rollout(RolloutBenchConfig(**SMALL), SHAPE, CPU, "a command")
    assert next(bar.name for bar in found.missed) == "finite segments"


def test_what_cannot_be_walked_is_refused():
    with pytest.raises(ConfigError, match="num_frames=100: expected more than the 2000"):
        measure_rollout(RolloutBenchConfig(num_frames=100), SHAPE, CPU, "a command")
    with pytest.raises(ConfigError, match="9 latent channels of stride 16: expected those of a V"):
        random_world(TransformerConfig(latent_channels=9, spatial_stride=16), BankConfig(), 0, CPU)
    reference = tiny_reference_model().transformer.config
    with pytest.raises(ConfigError, match="layout 'reference': expected 'stream'"):
        measure_rollout(RolloutBenchConfig(), reference, CPU, "a command")


def test_latents_of_every_small_preset_are_walked():
    for name in ("nano-stream", "freedoom"):
        shape = preset(name).transformer
        encoder = random_world(shape, BankConfig(), 0, CPU).encoder
        assert encoder.config.latent_channels == shape.latent_channels


@pytest.mark.slow
def test_latents_of_the_published_vae_are_walked_too():
    config = TransformerConfig(
        latent_channels=48, latent_height=2, latent_width=2, spatial_stride=16, dim=40, num_heads=2,
        num_blocks=1, ffn_dim=32, num_action_blocks=1, action_dim=16, action_num_heads=1,
        text="umt5", text_dim=8, text_length=6,
    )  # fmt: skip
    model = random_world(config, BankConfig(), 0, CPU)
    assert model.frame_size == (32, 32)
    assert model.encode_prompt("anything").shape == (1, 6, 8)
    assert model.decoder.config.decoder_removed == LIGHT_DECODER_LACKS
