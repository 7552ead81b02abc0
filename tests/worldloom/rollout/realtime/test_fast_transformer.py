"""The fast passes answer what the plain ones answer, through whole sessions."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny import FRAME_SIZE, INTRINSICS, tiny_model, tiny_reference_model

from worldloom.actions import Actions
from worldloom.errors import ConfigError, MachineError
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import Context, WorldModelTransformer
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears
from worldloom.quantize.linear import Int8Linear
from worldloom.rollout.realtime.fast_transformer import FastTransformer
from worldloom.rollout.reference_session import ReferenceSession
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession

IMAGE = np.random.default_rng(0).integers(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)
STREAMS = {
    "latent": {},
    "segment": {"reach": "segment"},
    "window": {"reach": "window", "accepts_inexact_replay": True},
    "panorama": {"position": "panorama", "reach": "segment", "is_residual_normed": True},
    "no prompt in the second block": {"num_text_blocks": 1, "num_action_blocks": 2},
    "one latent": {"segment_latents": 1, "reach": "segment"},
}


def model_of(**changes):
    """A tiny stream of another shape; what it shares with the tiny one has the same weights."""
    model = tiny_model()
    shape = model.transformer.config.model_dump() | changes
    transformer = WorldModelTransformer(TransformerConfig.model_validate(shape))
    missing = transformer.load_state_dict(model.transformer.state_dict(), strict=False).missing_keys
    for name in missing:
        torch.nn.init.normal_(transformer.get_parameter(name), std=0.1)
    conditioner = Conditioner(transformer.config, INTRINSICS)
    transformer.eval().requires_grad_(requires_grad=False)
    return dataclasses.replace(model, transformer=transformer, conditioner=conditioner)


def fast(model):
    return dataclasses.replace(model, transformer=FastTransformer(model.transformer))


def walk(model, session_type=WorldSession, prompt="a room"):
    session = session_type(model, image=IMAGE, prompt=prompt, seed=0)
    for yaw in (0.1, -0.2, 0.0, 0.3, 0.1):
        size = session.segment_frames
        keyboard, mouse = np.zeros((size, 6), np.float32), np.zeros((size, 2), np.float32)
        keyboard[:, 0], mouse[:, 1] = 1, yaw
        session.generate_segment(Actions(keyboard, mouse))
    return session.truth.latents(range(len(session.truth)))


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


def test_sessions_of_two_prompts_take_turns_on_one_network():
    model = model_of(reach="segment")
    shared = fast(model)
    first = walk(shared)
    other = walk(shared, prompt="a green hall")
    torch.testing.assert_close(walk(shared), first, rtol=0, atol=0)
    torch.testing.assert_close(other, walk(model, prompt="a green hall"), rtol=1e-5, atol=1e-5)


def prepared_of(model, network):
    session = WorldSession(model, image=IMAGE, prompt="a room", seed=0)
    poses = session._on_device(session.pose)
    windows = session._windows_on_device(session.truth.windows(range(1)))
    return network.prepare(model.conditioner.clean(poses, windows, session._prompt))


def test_a_prepared_segment_is_refused_once_another_was_prepared():
    model = model_of()
    network = FastTransformer(model.transformer)
    old, new = prepared_of(model, network), prepared_of(model, network)
    latents = torch.zeros(1, 4, 1, 4, 4)
    with torch.no_grad():
        assert network.denoise(latents, torch.ones(1, 1), new).shape == latents.shape
        with pytest.raises(ValueError, match="another was prepared since"):
            network.denoise(latents, torch.ones(1, 1), old)


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
