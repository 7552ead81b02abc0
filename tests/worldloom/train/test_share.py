"""Whose rows are whose, without other processes; `test_training_processes` has two of them."""

from __future__ import annotations

import pytest
import torch

from worldloom.train import share


def test_a_single_process_has_all_rows_and_its_own_values() -> None:
    assert share.own_rows(6) == slice(0, 6)
    values = torch.arange(3.0)
    assert share.gathered(values) is values
    assert share.averaged({"loss": 2.0}, torch.device("cpu")) == {"loss": 2.0}


def test_rows_of_all_processes_are_the_batch(monkeypatch) -> None:
    monkeypatch.setattr(share, "num_processes", lambda: 3)
    seen: list[int] = []
    for rank in range(3):
        monkeypatch.setattr(share, "rank", lambda r=rank: r)
        seen += range(12)[share.own_rows(12)]
    assert seen == list(range(12))
    with pytest.raises(ValueError, match="a batch of 10: expected a multiple of the 3 processes"):
        share.own_rows(10)
