import dataclasses

import pytest
import torch
from tiny import tiny_clips

from worldloom.data.latents import read_latents, write_latents
from worldloom.errors import ArtifactError, DataError


def test_latents_come_back_as_they_were(tmp_path):
    clips = tiny_clips()
    write_latents(tmp_path, "test", clips)
    again = read_latents(tmp_path, "test")
    for field in dataclasses.fields(clips):
        one, other = getattr(clips, field.name), getattr(again, field.name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_the_same_clips_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_latents(tmp_path / name, "train", tiny_clips())
    a, b = ((tmp_path / name / "train.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"train\.safetensors: cannot be read"):
        read_latents(tmp_path, "train")
    (tmp_path / "test.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ArtifactError, match=r"test\.safetensors: cannot be read"):
        read_latents(tmp_path, "test")


def test_parts_that_do_not_belong_together_are_refused():
    clips = tiny_clips()
    with pytest.raises(DataError, match="3 clips of 10 latents beside 36 poses"):
        dataclasses.replace(clips, poses=clips.poses[:, 1:], keyboard=clips.keyboard[:, 1:])
