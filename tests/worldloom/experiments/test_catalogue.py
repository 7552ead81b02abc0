"""The catalogue asks for figures that are measured."""

from __future__ import annotations

import pytest

from worldloom.errors import ConfigError
from worldloom.experiments.catalogue import EXPERIMENTS, experiment
from worldloom.experiments.figure_list import FIGURES
from worldloom.experiments.novelty import FRECHET


def test_every_experiment_asks_for_figures_that_are_measured():
    for entry in EXPERIMENTS.values():
        assert set(entry.figures) <= {*FIGURES, FRECHET}


def test_the_claims_have_their_experiments():
    assert set(EXPERIMENTS) == {
        "memory", "error-buffer", "student", "quantization", "decoder", "reach",
    }  # fmt: skip


def test_an_unknown_experiment_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="expected one of memory"):
        experiment("nothing")
