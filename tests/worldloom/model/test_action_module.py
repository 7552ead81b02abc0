import pytest
import torch

from worldloom.actions import NO_ACTION_KEYBOARD, NO_ACTION_MOUSE
from worldloom.model.action_module import ActionModule, rotary_frequencies
from worldloom.model.config import TransformerConfig

CONFIG = TransformerConfig(
    latent_height=4, latent_width=4, dim=16, num_heads=2, action_dim=32, action_num_heads=2,
    action_rotary_dim=8,
)  # fmt: skip
LATENTS, PLACES, WINDOW = 4, CONFIG.tokens_per_latent_frame, CONFIG.action_window_frames


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def module():
    torch.manual_seed(0)
    actions = ActionModule(CONFIG)
    for parameter in actions.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return actions


TOKENS = draw(2, LATENTS, PLACES, 16)
KEYBOARD = draw(2, LATENTS, WINDOW, 6, seed=1)
MOUSE = draw(2, LATENTS, WINDOW, 2, seed=2)


def by_latent(gap):
    return (gap.abs().amax(dim=(0, 2, 3)) > 1e-4).tolist()


@torch.no_grad()
def test_a_fresh_module_says_nothing():
    torch.manual_seed(0)
    assert torch.equal(ActionModule(CONFIG)(TOKENS, KEYBOARD, MOUSE), TOKENS)


@pytest.mark.parametrize("name", ["keyboard", "mouse"])
@torch.no_grad()
def test_both_have_a_say_at_every_latent_by_attention_over_time(name):
    actions, changed = module(), {"keyboard_BTWK": KEYBOARD, "mouse_BTWM": MOUSE}
    before = actions(TOKENS, KEYBOARD, MOUSE)
    key = {"keyboard": "keyboard_BTWK", "mouse": "mouse_BTWM"}[name]
    changed[key] = changed[key].clone()
    changed[key][:, 2, -1] += 1  # the newest frame of one latent's window
    assert by_latent(actions(TOKENS, **changed) - before) == [True] * LATENTS
    alone = actions(TOKENS[:, 2:3], KEYBOARD[:, 2:3], MOUSE[:, 2:3])
    assert (alone - before[:, 2:3]).abs().max() > 1e-3


@torch.no_grad()
def test_places_do_not_see_each_other():
    actions, other = module(), TOKENS.clone()
    other[:, 1, 3] += 1
    gap = (actions(other, KEYBOARD, MOUSE) - actions(TOKENS, KEYBOARD, MOUSE)).abs()
    assert (gap.amax(dim=(0, 1, 3)) > 1e-4).tolist() == [False, False, False, True]


@torch.no_grad()
def test_time_order_matters_through_the_rotary_alone():
    """With all latents turned alike a shuffle of latents is a shuffle of answers; with rotary
    numbers it is not."""
    actions, order = module(), [2, 0, 3, 1]

    def gap():
        plain = actions(TOKENS, KEYBOARD, MOUSE)[:, order]
        shuffled = actions(TOKENS[:, order], KEYBOARD[:, order], MOUSE[:, order])
        return (plain - shuffled).abs().max()

    assert gap() > 1e-3
    actions.frequencies.table = torch.zeros_like(actions.frequencies.table)
    assert gap() < 1e-5


@torch.no_grad()
def test_memory_counts_from_an_origin_of_its_own():
    """Two of memory and two of the window have the numbers 0, 1, 0, 1: to swap the pairs is to
    swap the answers. Numbered through they are 0, 1, 2, 3, and it is not."""
    actions, order = module(), [2, 3, 0, 1]

    def gap(num_memory):
        plain = actions(TOKENS, KEYBOARD, MOUSE, num_memory)[:, order]
        swapped = actions(TOKENS[:, order], KEYBOARD[:, order], MOUSE[:, order], num_memory)
        return (plain - swapped).abs().max()

    assert gap(2) < 1e-5
    assert gap(0) > 1e-3
    assert gap(1) > 1e-3


@torch.no_grad()
def test_the_sentinel_is_told_apart_from_doing_nothing():
    """No action known is keyboard -1 and mouse +1, which no player can do; zeros are stillness."""
    actions = module()
    still = actions(TOKENS, torch.zeros_like(KEYBOARD), torch.zeros_like(MOUSE))
    unknown = actions(
        TOKENS,
        torch.full_like(KEYBOARD, NO_ACTION_KEYBOARD),
        torch.full_like(MOUSE, NO_ACTION_MOUSE),
    )
    assert (NO_ACTION_KEYBOARD, NO_ACTION_MOUSE) == (-1.0, 1.0)
    assert by_latent(still - unknown) == [True] * LATENTS


@torch.no_grad()
def test_samples_of_a_batch_do_not_mix():
    actions = module()
    both = actions(TOKENS, KEYBOARD, MOUSE)
    for index in range(2):
        at = slice(index, index + 1)
        one = actions(TOKENS[at], KEYBOARD[at], MOUSE[at])
        torch.testing.assert_close(both[at], one, atol=1e-5, rtol=0)


def test_few_channels_turn_with_time():
    """256 ** (-2 i / 8) for the first 8 of a head's channels, as published: 1, 1/4, 1/16, 1/64."""
    expected = [1.0, 0.25, 0.0625, 0.015625, *[0.0] * 28]
    assert rotary_frequencies(8, 64).tolist() == expected
    assert rotary_frequencies(8, 8).tolist() == expected[:4]


@torch.no_grad()
def test_one_latent_is_answered_as_attention_to_itself_would(monkeypatch):
    actions = module()
    one = (TOKENS[:, :1], KEYBOARD[:, :1], MOUSE[:, :1])
    found = actions(*one)
    monkeypatch.setattr("worldloom.model.action_module._is_single", lambda _: False)
    torch.testing.assert_close(found, actions(*one))
