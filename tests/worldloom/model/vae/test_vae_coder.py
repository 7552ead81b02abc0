"""Grouping of frames: the lone first frame, and four at a time after it."""

from __future__ import annotations

import pytest
import torch

from worldloom.model.vae.vae_coder import group_frames, ungroup_frames


@pytest.mark.parametrize(("num_frames", "is_first"), [(9, True), (8, False), (1, True)])
def test_grouping_is_undone(num_frames: int, is_first: bool) -> None:
    video = torch.rand(2, 3, num_frames, 4, 4, generator=torch.Generator().manual_seed(0))
    groups = group_frames(video, is_first=is_first)
    assert torch.equal(ungroup_frames(groups, is_first=is_first), video)


def test_the_first_frame_fills_its_group() -> None:
    video = torch.rand(1, 3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    first = group_frames(video, is_first=True)[0, 0].reshape(4, 3, 4, 4)
    assert torch.equal(first, video[0, :, 0].expand(4, 3, 4, 4))


def test_frames_that_do_not_fill_groups_are_refused() -> None:
    with pytest.raises(ValueError, match=r"5 frames: expected 4n$"):
        group_frames(torch.zeros(1, 3, 5, 4, 4), is_first=False)
