import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_clips

from worldloom.rollout.segment import Conditioner, action_windows, past_indices

CONDITIONER = Conditioner(CONFIG, INTRINSICS)
TOKENS = CONFIG.tokens_per_latent_frame


def poses(latents):
    return tiny_clips(1).poses[:, [4 * latent for latent in latents]]


def windows(count):
    shape = (1, count, CONFIG.action_window_frames)
    return torch.zeros(*shape, 6), torch.zeros(*shape, 2)


PROMPT = torch.ones(1, CONFIG.text_length, dtype=torch.long)


def test_the_past_is_the_latest_committed_latents():
    assert past_indices(1, 4) == [0]
    assert past_indices(7, 4) == [3, 4, 5, 6]


def test_a_latent_reads_its_own_four_frames_and_those_before():
    actions = torch.arange(30.0)[None, :, None]
    found = action_windows(actions, torch.tensor([[4, 5]]), 12)[0, :, :, 0]
    assert found[0].tolist() == list(range(5, 17))
    assert found[1].tolist() == list(range(9, 21))


def test_before_the_first_frame_the_first_action_repeats():
    actions = torch.arange(9.0)[None, :, None]
    found = action_windows(actions, torch.tensor([[0, 1]]), 12)[0, :, :, 0]
    assert found[0].tolist() == [0.0] * 12
    assert found[1].tolist() == [0.0] * 8 + [1, 2, 3, 4]


def test_each_row_of_a_batch_reads_its_own_actions():
    actions = torch.stack([torch.arange(30.0), 100 + torch.arange(30.0)])[..., None]
    found = action_windows(actions, torch.tensor([[4], [5]]), 4)[..., 0]
    assert found[:, 0].tolist() == [[13, 14, 15, 16], [117, 118, 119, 120]]


def test_committed_latents_are_told_what_follows_from_themselves():
    """Their first pose is their anchor and their first latent the origin of time."""
    told = CONDITIONER.clean(poses([3, 4]), windows(2), PROMPT)
    geometry = CONDITIONER.geometry
    ages = torch.tensor([[0.0, -1.0]])
    anchor = poses([3])[:, 0]
    assert torch.equal(told.rays, geometry.rays_from(poses([3, 4]), anchor))
    assert torch.equal(told.coordinates, geometry.coordinates_from(poses([3, 4]), anchor, ages))
    alone = CONDITIONER.clean(poses([4]), windows(1), PROMPT)
    own = geometry.coordinates_from(poses([4]), poses([4])[:, 0], torch.zeros(1, 1))
    assert torch.equal(alone.coordinates, own)
    assert not torch.equal(alone.rays[:, 0], told.rays[:, 1])


def test_a_segment_is_told_how_it_lies_to_the_latest_committed_pose():
    told = CONDITIONER.noisy(poses([4, 5]), poses([3])[:, 0], windows(2), PROMPT)
    geometry = CONDITIONER.geometry
    ages = torch.tensor([[0.0, -1.0]])
    expected = geometry.coordinates_from(poses([4, 5]), poses([3])[:, 0], ages)
    assert torch.equal(told.coordinates, expected)
    assert torch.equal(told.rays, geometry.rays_from(poses([4, 5]), poses([3])[:, 0]))
    assert told.num_memory == 0


def test_a_context_lies_where_its_latents_do_and_old_ones_count_as_the_oldest():
    gap = CONFIG.max_memory_gap
    ages = torch.tensor([[1, gap, gap + 9]])
    context = CONDITIONER.context(None, poses([3, 2, 1]), poses([3])[:, 0], ages, None)
    by_latent = context.coordinates.unflatten(1, (3, TOKENS))
    assert by_latent[0, :, 0, 0].tolist() == [1.0, gap, gap]
    assert context.is_valid is None
    moved = CONDITIONER.context(None, poses([3, 2, 1]), poses([1])[:, 0], ages, None)
    assert not torch.allclose(context.coordinates, moved.coordinates)


@pytest.mark.parametrize("valid", [[True, False], [False, True]])
def test_a_latent_that_is_not_there_is_masked_token_by_token(valid):
    context = CONDITIONER.context(
        None, poses([3, 2]), poses([3])[:, 0], torch.tensor([[1, 2]]), torch.tensor([valid])
    )
    expected = [value for value in valid for _ in range(TOKENS)]
    assert context.is_valid.tolist() == [expected]
