"""A prompt is worked out when it is another, in memory that stays."""

import torch
from tiny import CONFIG, tiny_transformer

from worldloom.rollout.realtime.told_prompts import ToldPrompts


def test_another_prompt_is_written_over_the_last_one_and_the_same_is_left_alone():
    network = tiny_transformer().eval()
    prompts = ToldPrompts(network)
    one, other = torch.zeros(2, 1, CONFIG.text_length, dtype=torch.long)
    other[:] = 3
    with torch.no_grad():
        told = prompts.told(one)[0]
        first, place = told.keys.clone(), told.keys.data_ptr()
        told.keys.zero_()
        assert not prompts.told(one)[0].keys.any()  # nothing was worked out again
        again = prompts.told(other)[0]
        assert again.keys.data_ptr() == place
        assert not torch.equal(again.keys, first)
        torch.testing.assert_close(prompts.told(one)[0].keys, first)
    assert [said is None for said in prompts.told(one)] == [False, True]
