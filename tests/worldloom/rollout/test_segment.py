import torch

from worldloom.rollout.segment import action_windows, past_indices


def test_the_past_is_the_latest_committed_latents():
    assert past_indices(1, 4) == [0]
    assert past_indices(7, 4) == [3, 4, 5, 6]


def test_a_latent_reads_its_own_four_frames_and_those_before():
    actions = torch.arange(30.0)[None, :, None]
    windows = action_windows(actions, torch.tensor([[4, 5]]), 12)[0, :, :, 0]
    assert windows[0].tolist() == list(range(5, 17))
    assert windows[1].tolist() == list(range(9, 21))


def test_before_the_first_frame_the_first_action_repeats():
    actions = torch.arange(9.0)[None, :, None]
    windows = action_windows(actions, torch.tensor([[0, 1]]), 12)[0, :, :, 0]
    assert windows[0].tolist() == [0.0] * 12
    assert windows[1].tolist() == [0.0] * 8 + [1, 2, 3, 4]
