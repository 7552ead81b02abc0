"""The tree of errors: each has a code of its own, and the codes stay as they are documented."""

from __future__ import annotations

import inspect

import pytest

from worldloom import errors
from worldloom.errors import WorldloomError

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, WorldloomError)
]


def test_each_class_has_an_exit_code_of_its_own() -> None:
    codes = {found.exit_code: found.__name__ for found in CLASSES}
    assert len(codes) == len(CLASSES)
    assert codes == {
        1: "WorldloomError",
        2: "ConfigError",
        3: "ArtifactError",
        4: "StoreError",
        5: "DataError",
        6: "TrackingError",
        7: "PromotionError",
        8: "ServingError",
        9: "MachineError",
        10: "TrainingError",
    }


@pytest.mark.parametrize("found", CLASSES)
def test_codes_are_neither_success_nor_a_signals(found: type[WorldloomError]) -> None:
    assert 0 < found.exit_code < 64
    assert found.__doc__


@pytest.mark.parametrize("found", CLASSES)
def test_a_message_is_the_whole_text(found: type[WorldloomError]) -> None:
    assert str(found("port 80: taken")) == "port 80: taken"


def test_wrong_input_can_be_caught_as_a_value_error() -> None:
    values = {found.__name__ for found in CLASSES if issubclass(found, ValueError)}
    assert values == {"ConfigError", "DataError"}
