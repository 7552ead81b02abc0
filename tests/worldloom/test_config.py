"""Configurations refuse what they do not know, and say where, which rule and which value."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError, model_validator

from worldloom.config import (
    Config,
    RecipeConfig,
    apply_overrides,
    canonical_json,
    digest_of,
    load_config,
    parse_config,
    resolved,
)
from worldloom.errors import ConfigError


class OptimiserConfig(Config):
    rate: float = Field(0.1, gt=0, description="learning rate")
    name: str = Field("adam", description="algorithm")


class TrainConfig(Config):
    steps: int = Field(10, ge=1, description="optimiser steps")
    resume: bool = Field(True, description="go on where a run stopped")
    optimiser: OptimiserConfig = OptimiserConfig()


class Ordered(Config):
    low: int = Field(0, description="lower")
    high: int = Field(0, description="upper")

    @model_validator(mode="after")
    def _in_order(self) -> Ordered:
        if self.low > self.high:
            message = f"low {self.low} is above high {self.high}, expected them in order"
            raise ValueError(message)
        return self


def refusal(values: dict[str, object], *, where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(TrainConfig, values, where=where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_and_defaults_are_all_resolved() -> None:
    config = parse_config(TrainConfig, {"steps": 3, "optimiser": {"rate": 0.5}})
    assert resolved(config) == {
        "steps": 3,
        "resume": True,
        "optimiser": {"rate": 0.5, "name": "adam"},
    }


def test_a_config_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().steps = 3


def test_a_mistyped_key_is_named_with_the_known_ones() -> None:
    assert refusal({"stpes": 3}, where="train") == (
        "train.stpes: no such setting (value 3); known: steps, resume, optimiser"
    )


def test_a_mistyped_key_inside_lists_the_keys_there() -> None:
    assert refusal({"optimiser": {"lr": 1}}) == (
        "optimiser.lr: no such setting (value 1); known: rate, name"
    )


@pytest.mark.parametrize(
    ("values", "path", "rule", "value"),
    [
        ({"steps": 0}, "steps", "greater than or equal to 1", "0"),
        ({"steps": "many"}, "steps", "valid integer", "'many'"),
        ({"optimiser": {"rate": -1.0}}, "optimiser.rate", "greater than 0", "-1.0"),
        ({"optimiser": {"rate": float("nan")}}, "optimiser.rate", "finite number", "nan"),
        ({"optimiser": {"rate": float("inf")}}, "optimiser.rate", "finite number", "inf"),
        ({"optimiser": 7}, "optimiser", "dictionary", "7"),
    ],
)
def test_a_wrong_value_is_named_with_its_path_and_its_rule(
    values: dict[str, object], path: str, rule: str, value: str
) -> None:
    text = refusal(values, where="train")
    assert text.startswith(f"train.{path}: ")
    assert rule in text
    assert text.endswith(f"(value {value})")


def test_json_text_is_loaded() -> None:
    assert load_config(TrainConfig, '{"steps": 4}').steps == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{steps: 4}", "train: not JSON"),
        ("[4]", "train: expected an object of settings, got [4]"),
        ('{"optimiser": {"rate": NaN}}', "train.optimiser.rate: "),
        ('{"step": 4}', "train.step: no such setting"),
    ],
)
def test_text_that_is_no_config_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(TrainConfig, text, where="train")
    assert str(caught.value).startswith(words)


def test_overrides_are_json_or_text_and_the_last_one_counts() -> None:
    overrides = [
        "steps=3",
        "steps=5",
        "resume=false",
        "optimiser.name=sgd=1",
        "optimiser.rate=1e-3",
    ]
    config = apply_overrides(TrainConfig(), overrides)
    assert (config.steps, config.resume) == (5, False)
    assert config.optimiser == OptimiserConfig(rate=1e-3, name="sgd=1")


def test_an_override_leaves_the_given_config_alone() -> None:
    config = TrainConfig()
    apply_overrides(config, ["optimiser.rate=2"])
    assert config == TrainConfig()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("steps", "override 'steps': expected dotted.path=value"),
        ("=3", "override '=3': expected dotted.path=value"),
        ("stpes=3", "stpes: no such setting (value 3); known: steps, resume, optimiser"),
        ("optimizer.rate=1", "optimizer.rate: no such setting; known at 'optimizer': steps"),
        ("steps.more=1", "steps.more: no such setting; known at 'steps': steps"),
        ("optimiser.rate=NaN", "optimiser.rate: Input should be a finite number (value nan)"),
        ("steps=0", "steps: Input should be greater than or equal to 1 (value 0)"),
    ],
)
def test_a_wrong_override_is_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(TrainConfig(), [override])
    assert str(caught.value).startswith(words)


def test_equal_values_have_one_text_and_one_digest() -> None:
    assert canonical_json({"b": [1, None], "a": 0.1}) == '{"a":0.1,"b":[1,null]}'
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of({}) == (
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )


def test_what_is_not_a_number_has_no_text() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": float("nan")})


def test_a_rule_over_several_settings_is_told_without_all_of_them():
    with pytest.raises(ConfigError) as caught:
        parse_config(Ordered, {"low": 3, "high": 2})
    assert str(caught.value) == "Ordered: low 3 is above high 2, expected them in order"


class Inner(Config):
    width: int = Field(1, description="width")
    height: int = Field(1, description="height")


class Recipe(RecipeConfig):
    inner: Inner = Field(Inner(width=7, height=9), description="a recipe of its own")
    other: int = Field(3, description="something else")


def test_a_part_given_in_part_keeps_the_rest_of_its_default() -> None:
    assert parse_config(Recipe, {"inner": {"height": 2}}).inner == Inner(width=7, height=2)
    assert parse_config(Recipe, {"other": 5}).inner == Inner(width=7, height=9)
    assert parse_config(Recipe, {"inner": Inner()}).inner == Inner()
    with pytest.raises(ConfigError, match=r"inner\.depth: no such setting"):
        parse_config(Recipe, {"inner": {"depth": 2}})
    with pytest.raises(ConfigError, match="inner"):
        parse_config(Recipe, {"inner": 5})
