"""Changes of resolution and the shortcuts around them: closed forms, and frame 0 alone."""

from __future__ import annotations

import pytest
import torch

from worldloom.model.vae.wan_vae_layers import Streamed
from worldloom.model.vae.wan_vae_stages import (
    DoubleResolution,
    DownStage,
    HalveResolution,
    UpStage,
    average_down,
    duplicate_up,
)


def features(num_frames: int = 5) -> torch.Tensor:
    return torch.randn(2, 4, num_frames, 4, 6, generator=torch.Generator().manual_seed(0))


def test_averaging_undoes_duplication() -> None:
    finer = duplicate_up(features(), 4, 2, 2)
    assert finer.shape == (2, 4, 10, 8, 12)
    assert torch.allclose(average_down(finer, 4, 2, 2), features(), atol=1e-6)


def test_equal_channels_are_repeated_over_positions() -> None:
    finer = duplicate_up(features(), 4, 2, 2)
    assert torch.equal(finer[:, :, ::2, ::2, ::2], features())
    assert torch.equal(finer[:, :, 1::2, 1::2, 1::2], features())


def test_half_the_channels_take_their_rows_from_neighbouring_channels() -> None:
    finer = duplicate_up(features(), 2, 1, 2)
    assert torch.equal(finer[:, 1, :, 0::2, ::2], features()[:, 2])
    assert torch.equal(finer[:, 1, :, 1::2, ::2], features()[:, 3])


def test_a_lone_frame_is_averaged_with_silence() -> None:
    folded = average_down(features(1), 4, 2, 1)
    assert torch.allclose(folded, features(1) / 2)


def test_averaging_folds_positions_behind_channels() -> None:
    folded = average_down(features(), 16, 1, 2)
    assert torch.equal(folded[:, 4 * 1 + 2 * 1 + 0], features()[:, 1, :, 1::2, 0::2])


def test_time_convolution_of_the_way_up_gives_two_frames_for_one() -> None:
    up = DoubleResolution("u", 4, doubles_time=True)
    assert up(features(1), None, {}).shape == (2, 4, 1, 8, 12)
    assert up(features(3), None, {}).shape == (2, 4, 5, 8, 12)
    assert up.time_conv is not None
    with torch.no_grad():
        up.time_conv.weight.zero_()
        up.time_conv.weight[:4, :, -1, 0, 0] = torch.eye(4)
        up.time_conv.weight[4:, :, -1, 0, 0] = 2 * torch.eye(4)
        up.time_conv.bias.zero_()
    doubled = up(features(3), None, {})
    plain = DoubleResolution("p", 4, doubles_time=False)
    plain.load_state_dict({k: v for k, v in up.state_dict().items() if "time" not in k})
    expected = plain(features(3), None, {})
    assert torch.allclose(doubled[:, :, 0:2], expected[:, :, 0:2], atol=1e-5)
    assert torch.allclose(doubled[:, :, 3], expected[:, :, 2], atol=1e-5)
    twice = plain(2 * features(3), None, {})
    assert torch.allclose(doubled[:, :, 2], twice[:, :, 1], atol=1e-5)


def test_time_convolution_of_the_way_down_sees_the_frame_before_a_pair() -> None:
    down = HalveResolution("d", 4, halves_time=True)
    assert down(features(1), None, {}).shape == (2, 4, 1, 2, 3)
    whole = down(features(5), None, {})
    assert whole.shape == (2, 4, 3, 2, 3)
    changed = features(5)
    changed[:, :, 2] += 1
    seen = (down(changed, None, {}) - whole).abs().amax((0, 1, 3, 4)) > 0
    assert seen.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("stage", "chunks"),
    [
        (HalveResolution("s", 4, halves_time=True), [1, 4, 2, 2]),
        (HalveResolution("s", 4, halves_time=False), [1, 4, 2, 2]),
        (DoubleResolution("s", 4, doubles_time=True), [1, 1, 3, 4]),
        (DoubleResolution("s", 4, doubles_time=False), [1, 1, 3, 4]),
        (DownStage("s", (4, 8), 1, halves_time=True), [1, 4, 2, 2]),
        (DownStage("s", (4, 4), 1, halves_time=None), [1, 4, 2, 2]),
        (UpStage("s", (4, 2), 1, doubles_time=True), [1, 1, 3, 4]),
        (UpStage("s", (4, 2), 1, doubles_time=None), [3, 1, 1, 4]),
    ],
)
def test_stages_stream_what_they_answer_at_once(stage: Streamed, chunks: list[int]) -> None:
    whole = stage(features(9), None, {})
    past: dict[str, torch.Tensor] | None = None
    answers, shapes = [], []
    for frames in features(9).split(chunks, dim=2):
        kept: dict[str, torch.Tensor] = {}
        answers.append(stage(frames, past, kept))
        shapes.append({name: value.shape for name, value in kept.items()})
        past = kept
    assert torch.allclose(torch.cat(answers, dim=2), whole, atol=1e-5)
    assert all(shape == shapes[0] for shape in shapes)
