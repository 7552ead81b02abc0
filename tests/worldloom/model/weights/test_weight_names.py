from __future__ import annotations

import pytest

from worldloom.model.weights.weight_names import (
    NameMap,
    NameRule,
    Placement,
    compile_pattern,
    in_order,
)


def test_a_number_and_the_rest_are_carried_over_in_order() -> None:
    names = NameMap(NameRule("layers.#.attn.#.*", "blocks.#.attention_#.*"))
    assert names("layers.12.attn.3.q.weight") == Placement("blocks.12.attention_3.q.weight")


def test_a_number_stands_for_digits_alone() -> None:
    names = NameMap(NameRule("layers.#.w", "blocks.#.w"))
    assert names("layers.a.w") == Placement("layers.a.w")
    assert names("layers.1.2.w") == Placement("layers.1.2.w")


def test_dots_are_only_dots() -> None:
    assert NameMap(NameRule("a.b", "c"))("axb") == Placement("axb")


def test_the_first_rule_that_fits_decides() -> None:
    names = NameMap(NameRule("a.norm.*", "norm.*"), NameRule("a.*", "b.*"))
    assert names("a.norm.weight") == Placement("norm.weight")
    assert names("a.other") == Placement("b.other")


def test_a_rule_without_a_target_means_that_the_tensor_is_not_needed() -> None:
    assert NameMap(NameRule("decoder.*", None))("decoder.block.0.weight") is None


def test_a_rule_may_allow_flattening() -> None:
    names = NameMap(NameRule("patch.weight", "embed.weight", is_flattened=True))
    assert names("patch.weight") == Placement("embed.weight", is_flattened=True)


@pytest.mark.parametrize("target", ["blocks.weight", "blocks.*", "blocks.#.#", "blocks.*.#"])
def test_wildcards_that_cannot_be_filled_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="expected the same ones in the same order"):
        NameRule("layers.#", target)


def test_patterns_match_whole_names() -> None:
    assert compile_pattern("blocks.#.camera.*").fullmatch("blocks.10.camera.scale.weight")
    assert not compile_pattern("blocks.#").fullmatch("blocks.1.weight")


def test_blocks_are_listed_by_their_number() -> None:
    names = {"blocks.10.a", "blocks.2.a", "blocks.2", "alpha", "blocks.x"}
    assert in_order(names) == ["alpha", "blocks.2", "blocks.2.a", "blocks.10.a", "blocks.x"]
