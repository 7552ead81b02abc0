"""Checkpoint files: whole or absent, plain tensors and values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from worldloom.errors import TrainingError
from worldloom.train import checkpoint as checkpoint_module
from worldloom.train.checkpoint import (
    CHECKPOINT_NAME,
    TrainingCheckpoint,
    load_checkpoint,
    same_tensors,
    save_checkpoint,
    write_tensors,
)

STATE = TrainingCheckpoint(
    tensors={"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(7)},
    values={"history": [{"loss": 0.1 + 0.2}]},
)


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run", STATE)
    again = load_checkpoint(tmp_path / "run")
    assert again is not None
    assert same_tensors(again.tensors, STATE.tensors)
    assert again.values == STATE.values


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None


def test_equal_states_are_equal_bytes(tmp_path: Path) -> None:
    backwards = dict(reversed(list(STATE.tensors.items())))
    first = save_checkpoint(tmp_path / "1", STATE)
    second = save_checkpoint(tmp_path / "2", TrainingCheckpoint(backwards, STATE.values))
    assert first.read_bytes() == second.read_bytes()


def test_interrupted_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, STATE)

    def cut_short(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module.os, "fsync", cut_short)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, TrainingCheckpoint({"a": torch.tensor(8)}, {}))
    again = load_checkpoint(tmp_path)
    assert again is not None
    assert again.tensors["a"] == 7


@pytest.mark.parametrize("size", [0, 5, 60])
def test_damaged_file_is_one_sentence(tmp_path: Path, size: int) -> None:
    path = save_checkpoint(tmp_path, STATE)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)


def test_tensors_without_training_state_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / CHECKPOINT_NAME)
    with pytest.raises(TrainingError, match="holds no training state"):
        load_checkpoint(tmp_path)


def test_views_of_one_storage_are_written_apart(tmp_path: Path) -> None:
    whole = torch.arange(8.0)
    write_tensors(tmp_path / "views.safetensors", {"left": whole[:4], "all": whole})
    assert (tmp_path / "views.safetensors").exists()
