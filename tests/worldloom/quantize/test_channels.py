"""Choosing channels by score."""

from __future__ import annotations

import torch

from worldloom.quantize.channels import top_channels


def test_the_highest_scores_stay_in_their_order() -> None:
    assert top_channels(torch.tensor([1.0, 4.0, 2.0, 3.0]), 2).tolist() == [1, 3]


def test_ties_go_to_the_lower_index() -> None:
    assert top_channels(torch.tensor([1.0, 2.0, 1.0, 2.0]), 3).tolist() == [0, 1, 3]
