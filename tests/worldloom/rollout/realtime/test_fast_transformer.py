"""The fast passes answer what the plain ones answer, through whole sessions."""

import pytest
import torch
from small_streams import fast, model_of, prepared_of, walk
from tiny import CONFIG, tiny_reference_model

from worldloom.errors import ConfigError, MachineError
from worldloom.model.transformer import Context
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears
from worldloom.quantize.linear import Int8Linear
from worldloom.rollout.realtime.fast_transformer import FastTransformer
from worldloom.rollout.reference_session import ReferenceSession

STREAMS = {
    "latent": {},
    "segment": {"reach": "segment"},
    "window": {"reach": "window", "accepts_inexact_replay": True},
    "panorama": {"position": "panorama", "reach": "segment", "is_residual_normed": True},
    "no prompt in the second block": {"num_text_blocks": 1, "num_action_blocks": 2},
    "one latent": {"segment_latents": 1, "reach": "segment"},
}


@pytest.mark.parametrize("changes", STREAMS.values(), ids=STREAMS)
def test_a_walk_through_a_stream_is_the_plain_walk(changes):
    model = model_of(**changes)
    torch.testing.assert_close(walk(fast(model)), walk(model), rtol=1e-5, atol=1e-5)


def test_a_walk_in_the_reference_layout_is_the_plain_walk():
    model = tiny_reference_model()
    expected, found = (walk(m, ReferenceSession) for m in (model, fast(model)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_layers_in_8_bits_answer_as_they_do_in_the_plain_passes():
    model = model_of(reach="segment")
    quantize_linears(model.transformer, QuantizeLinearsConfig())
    expected, found = walk(model), walk(fast(model))
    assert (found - expected).norm() / expected.norm() < 1e-2  # a rounding may fall otherwise


@pytest.mark.slow
def test_sessions_of_two_prompts_take_turns_on_one_network():
    model = model_of(reach="segment")
    shared = fast(model)
    first = walk(shared)
    other = walk(shared, prompt="a green hall")
    torch.testing.assert_close(walk(shared), first, rtol=0, atol=0)
    torch.testing.assert_close(other, walk(model, prompt="a green hall"), rtol=1e-5, atol=1e-5)


def test_a_prepared_segment_is_refused_once_another_was_prepared():
    model = model_of()
    network = FastTransformer(model.transformer)
    old, new = prepared_of(model, network), prepared_of(model, network)
    latents = torch.zeros(1, 4, 1, 4, 4)
    with torch.no_grad():
        assert network.denoise(latents, torch.ones(1, 1), new).shape == latents.shape
        with pytest.raises(ValueError, match="another was prepared since"):
            network.denoise(latents, torch.ones(1, 1), old)


def kept_by_the_plain_passes(network, noisy, sigma, prepared):
    """Keys and values of every block as the plain network works them out on its way."""
    seen = []
    hooks = [
        layer.register_forward_hook(lambda *told: seen.append(told[-1]))
        for block in network.typed_blocks()
        for layer in (block.self_attn.norm_k, block.self_attn.v)
    ]
    network.denoise(noisy, sigma, prepared)
    for hook in hooks:
        hook.remove()
    return seen


def test_a_step_that_keeps_leaves_the_keys_and_values_of_the_latents_as_they_came():
    model = model_of()
    network = FastTransformer(model.transformer)
    noisy, sigma = torch.randn(1, 4, 1, 4, 4), torch.full((1, 1), 0.6)
    with torch.no_grad():
        velocity, kept = network.denoise_and_keep(noisy, sigma, prepared_of(model, network))
        plain = prepared_of(model, model.transformer)
        expected = model.transformer.denoise(noisy, sigma, plain)
        seen = kept_by_the_plain_passes(model.transformer, noisy, sigma, plain)
    torch.testing.assert_close(velocity, expected, rtol=1e-5, atol=1e-5)
    found = [x for block in kept for x in (block.keys, block.values)]
    assert len(found) == len(seen) == 2 * CONFIG.num_blocks
    for mine, its in zip(found, seen, strict=True):
        torch.testing.assert_close(mine.flatten(2), its.flatten(2), rtol=1e-5, atol=1e-5)


def test_a_context_whose_keys_are_yet_to_come_is_refused():
    network = FastTransformer(model_of().transformer)
    with pytest.raises(ValueError, match="context without keys and values"):
        network.placed(Context(torch.zeros(1, 4, 5), None))


def test_fp8_is_refused_where_it_is_not_multiplied():
    with pytest.raises(MachineError, match=r"FP8 on the CPU.*capability 9\.0"):
        FastTransformer(model_of().transformer, attends_in_fp8=True)


def test_a_mouse_whose_first_layer_is_8_bit_is_refused():
    model = model_of()
    model.transformer.blocks[0].actions.mouse_in[0] = Int8Linear(64, 16)
    with pytest.raises(ConfigError, match=r"mouse_in.*expected full precision"):
        FastTransformer(model.transformer)


def test_a_walk_in_bfloat16_stays_near_the_plain_one():
    model = model_of(reach="segment", position="panorama")
    model.transformer.to(torch.bfloat16)
    expected, found = walk(model), walk(fast(model))
    assert (found - expected).norm() / expected.norm() < 0.03
