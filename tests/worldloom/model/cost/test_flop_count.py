"""Operations by part are those of closed forms over shapes, and nothing is counted twice."""

from __future__ import annotations

import pytest
from small_presets import scaled_down

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES
from worldloom.model.config import TransformerConfig
from worldloom.model.cost.flop_count import FlopCounts, count_commit, count_forward
from worldloom.model.cost.footprint import footprint, meta_transformer
from worldloom.model.geometry import ray_dim
from worldloom.model.rope import num_coordinates
from worldloom.presets import preset

TERA = 1e12


def closed_form(shape: TransformerConfig, own: int, seen: int, words: int) -> FlopCounts:
    """Products of a segment of `own` latents that sees `seen` committed ones."""
    dim, blocks, text = shape.dim, shape.num_blocks, shape.num_text_blocks
    places, latents = shape.tokens_per_latent_frame, own
    tokens, context = own * places, seen * places
    inner, window = shape.action_dim, shape.action_window_frames
    mouse = tokens * inner * (dim + NUM_MOUSE_AXES * window + inner + 3 * inner + dim)
    keys = tokens * 2 * inner * dim + latents * window * shape.action_key_dim * (
        NUM_KEYS + shape.action_key_dim + 2 * inner
    )
    attended = 2 * 2 * places * latents * latents * inner
    return FlopCounts(
        self_projections=2 * blocks * 4 * tokens * dim**2,
        self_products=2 * blocks * 2 * tokens * (tokens + context) * dim,
        cross_projections=2 * text * (2 * tokens + 2 * words) * dim**2,
        cross_products=2 * text * 2 * tokens * words * dim,
        ffn=2 * blocks * 2 * tokens * dim * shape.ffn_dim,
        camera=2 * tokens * dim * (4 * blocks * dim + ray_dim(shape) + 2 * dim),
        action=2 * shape.num_action_blocks * (mouse + keys + attended),
        embeddings_and_head=2 * words * dim * (shape.text_dim + dim)
        + 2 * latents * dim * (256 + dim + 6 * dim)
        + 2 * 2 * tokens * dim * shape.patch_channels
        + 2 * (tokens + context) * num_coordinates(shape) * dim // 2,
    )


@pytest.mark.parametrize("name", ["nano-reference", "nano-stream", "stream-5b"])
def test_a_forward_is_its_closed_form(name: str) -> None:
    shape = scaled_down(preset(name).transformer)
    is_stream = shape.layout == "stream"
    own = shape.segment_latents + (0 if is_stream else shape.num_context_latents)
    seen = shape.num_context_latents if is_stream else 0
    prepare, evaluation = count_forward(meta_transformer(shape))
    assert prepare.plus(evaluation) == closed_form(shape, own, seen, shape.text_length)


@pytest.mark.slow
def test_what_is_prepared_is_not_evaluated() -> None:
    prepare, evaluation = count_forward(meta_transformer(preset("nano-reference").transformer))
    assert prepare.camera > 0
    assert evaluation.camera == 0
    assert prepare.self_projections == prepare.ffn == prepare.action == 0


@pytest.mark.slow
def test_the_large_model_computes_what_its_specification_says() -> None:
    """The specification's 298 TFLOP round each part and leave out the embedding of rays (1.3).

    Its cross-attention has q and o alone (19), ours k and v of the prompt too (19.5).
    """
    counted = footprint(preset("mg3-5b").transformer).flops_by_part
    expected = {
        "ffn": 88,
        "self_projections": 38,
        "cross_projections": 19,
        "camera": 38,
        "self_products": 103,
        "action": 8.5,
    }
    for part, tera in expected.items():
        assert vars(counted)[part] / TERA == pytest.approx(tera, rel=0.03), part
    assert counted.cross_products / TERA == pytest.approx(3, abs=0.5)  # "3" has one digit
    assert counted.total / TERA == pytest.approx(298, rel=0.03)


@pytest.mark.slow
def test_a_committed_latent_that_stands_alone_meets_its_own_tokens_only() -> None:
    alone = preset("nano-stream").transformer
    segment = alone.model_copy(update={"reach": "segment"})
    window = alone.model_copy(update={"reach": "window"})
    products = [
        count_commit(meta_transformer(each)).self_products for each in (alone, segment, window)
    ]
    latents, seen = alone.segment_latents, alone.num_context_latents
    assert products[1] == latents * products[0]
    assert products[2] == (latents + seen) * products[0]
    # The last block's tokens are read by nobody.
    tokens = latents * alone.tokens_per_latent_frame
    per_block = 2 * 2 * tokens * alone.tokens_per_latent_frame * alone.dim
    assert products[0] == (alone.num_blocks - 1) * per_block
