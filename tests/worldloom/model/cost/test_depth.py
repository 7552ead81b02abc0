"""Figures of shallow networks put together are the deep network's."""

from __future__ import annotations

import pytest
from small_presets import scaled_down

from worldloom.model.config import TransformerConfig
from worldloom.model.cost.depth import shallow_terms
from worldloom.model.cost.flop_count import FlopCounts, count_commit, count_forward
from worldloom.model.cost.footprint import count_parameters, meta_transformer
from worldloom.presets import preset

STREAM = scaled_down(preset("nano-stream").transformer)


def with_blocks(blocks: int, actions: int, texts: int) -> TransformerConfig:
    return STREAM.model_copy(
        update={"num_blocks": blocks, "num_action_blocks": actions, "num_text_blocks": texts}
    )


@pytest.mark.parametrize(
    ("blocks", "actions", "texts"),
    [(6, 3, 6), (7, 2, 4), (7, 4, 2), (3, 3, 3), (2, 1, 2), (1, 1, 1), (4, 0, 0), (3, 9, 9)],
)
def test_whatever_blocks_have_their_sum_is_the_networks(
    blocks: int, actions: int, texts: int
) -> None:
    shape = with_blocks(blocks, actions, texts)
    found = sum(
        times * count_parameters(meta_transformer(shallow)).total
        for times, shallow in shallow_terms(shape)
    )
    assert found == count_parameters(meta_transformer(shape)).total


@pytest.mark.slow
def test_operations_of_the_passes_add_up_too() -> None:
    shape = with_blocks(5, 3, 1)
    evaluation, commit = FlopCounts(), FlopCounts()
    for times, shallow in shallow_terms(shape):
        network = meta_transformer(shallow)
        evaluation = evaluation.plus(count_forward(network)[1], times=times)
        commit = commit.plus(count_commit(network), times=times)
    assert evaluation == count_forward(meta_transformer(shape))[1]
    assert commit == count_commit(meta_transformer(shape))


def test_a_large_network_is_counted_on_a_few_blocks() -> None:
    shapes = [shape for _, shape in shallow_terms(preset("stream-5b").transformer)]
    assert max(shape.num_blocks for shape in shapes) == 3
    assert {shape.dim for shape in shapes} == {preset("stream-5b").transformer.dim}
