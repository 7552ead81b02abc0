"""Legs of training at the smallest size, one after another, each from the weights of the last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import CONFIG, VAE_CONFIG

from worldloom.legs.config import FeedConfig, LegConfig
from worldloom.legs.run import run_leg
from worldloom.model.vae.video_vae import load_decoder, load_vae
from worldloom.train.model_checkpoint import load_model

SHAPE = tuple(
    f"{name}={getattr(CONFIG, name)}"
    for name in (
        "latent_channels", "latent_height", "latent_width", "dim", "num_blocks", "num_heads",
        "ffn_dim", "num_action_blocks", "action_dim", "action_num_heads", "text_dim",
    )
)  # fmt: skip
FEED = FeedConfig(
    num_workers=1,
    num_frames=25,
    procedural_clips=4,
    vizdoom_clips=0,
    held_out_clips=1,
    first_clips=2,
)


def leg(stage: str, **values: object) -> LegConfig:
    return LegConfig.model_validate(
        {
            "stage": stage,
            "preset": "nano-stream",
            "shape": SHAPE,
            "vae": VAE_CONFIG,
            "max_steps": 2,
            "batch": 2,
            "feed": FEED,
        }
        | values
    )


@pytest.mark.timeout(600)
def test_every_stage_goes_on_from_the_weights_of_the_stage_before(tmp_path: Path) -> None:
    data, weights = tmp_path / "data", tmp_path / "weights"
    told: list[int] = []
    cut = ("removed=0.75", "window_frames=5", "evaluation_windows=1")
    narrow = {"objective": cut, "learning_rate": 0.5}  # two steps must show
    short = {"objective": ("window_frames=5", "evaluation_windows=1")}
    for config in (
        leg("vae", **short),
        leg("actions"),
        leg("memory"),
        leg("cold_start"),
        leg("multi_segment", minutes=1e-6, max_steps=50),
        leg("decoder", **narrow),
    ):
        log = run_leg(
            config,
            data=data,
            weights=weights,
            out=weights,
            report=lambda step, *_: told.append(step),
        )
        assert log["num_steps"] == (1 if config.stage == "multi_segment" else 2)
        assert json.loads((weights / "leg.json").read_text())["config"]["stage"] == config.stage
    assert told
    clips = sorted(path.name for path in data.iterdir())
    assert len([name for name in clips if name.startswith("test-")]) == 1
    for part in ("base", "student", "critic"):
        transformer, _ = load_model(weights / part)
        assert transformer.config.dim == CONFIG.dim
    widths = load_vae(weights / "vae").decoder.config.decoder_widths
    narrow_widths = load_decoder(weights / "decoder-75").config.decoder_widths
    assert max(narrow_widths) <= max(widths) / 2
    # A second leg goes on with the narrow decoder, or it would begin where the cut one began.
    taught = log["evaluations"]
    again = run_leg(
        leg("decoder", **narrow),
        data=data,
        weights=weights,
        out=weights,
    )
    key = "pruned_psnr_db"
    assert taught[0][key] != pytest.approx(taught[-1][key], abs=1e-6)
    assert again["evaluations"][0][key] == pytest.approx(taught[-1][key], abs=0.02)
    assert abs(again["evaluations"][0][key] - taught[0][key]) > 0.02
