from __future__ import annotations

import numpy as np
import pytest
import torch

from cli.mask_measurement import (
    NUM_CLEAN,
    NUM_LATENTS,
    SEGMENT,
    filled_transformer,
    measure_masks,
    measure_stream,
)

MASKS = measure_masks()
STREAMS = ("latent", "segment", "window")
OF_SEGMENT = np.array([0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
CLEAN, NOISY = slice(NUM_CLEAN), slice(NUM_CLEAN, None)


def test_the_sequence_is_a_sink_two_committed_segments_and_a_noisy_one() -> None:
    assert len(OF_SEGMENT) == NUM_LATENTS == NUM_CLEAN + SEGMENT
    assert set(MASKS) == {"reference", *STREAMS}


@pytest.mark.parametrize("name", MASKS)
def test_what_counts_as_a_change_is_far_from_what_does_not(name: str) -> None:
    assert MASKS[name].smallest_change > 1e-4
    assert MASKS[name].largest_rest < 1e-14


def test_in_the_reference_layout_every_latent_hangs_on_every_other() -> None:
    assert MASKS["reference"].reads.all()


@pytest.mark.parametrize("name", STREAMS)
def test_noisy_latents_see_all_and_no_committed_one_sees_them(name: str) -> None:
    assert MASKS[name].reads[NOISY].all()
    assert not MASKS[name].reads[CLEAN, NOISY].any()


def test_a_latent_that_reaches_itself_hangs_on_itself_alone() -> None:
    found = MASKS["latent"].reads[CLEAN, CLEAN]
    assert np.array_equal(found, np.eye(NUM_CLEAN, dtype=bool))


def test_a_latent_that_reaches_its_segment_hangs_on_all_of_it_and_on_nothing_else() -> None:
    found = MASKS["segment"].reads[CLEAN, CLEAN]
    of_clean = OF_SEGMENT[CLEAN]
    assert np.array_equal(found, of_clean[:, None] == of_clean)


def test_a_latent_that_reaches_its_window_hangs_on_what_was_before_and_on_its_segment() -> None:
    found = MASKS["window"].reads[CLEAN, CLEAN]
    of_clean = OF_SEGMENT[CLEAN]
    assert np.array_equal(found, of_clean[:, None] >= of_clean)


def test_a_path_that_is_shut_shows() -> None:
    """With self-attention and actions that add nothing, latents do not hear of one another."""
    transformer = filled_transformer({"reach": "segment"})
    for name, parameter in transformer.named_parameters():
        if ".self_attn.o." in name or "mouse_out" in name or "keyboard_out" in name:
            torch.nn.init.zeros_(parameter)
    assert np.array_equal(measure_stream(transformer).reads, np.eye(NUM_LATENTS, dtype=bool))
