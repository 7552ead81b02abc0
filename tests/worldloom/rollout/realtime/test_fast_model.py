"""What a model is made of once it is fast: what was asked for, what the device can do."""

import numpy as np
import pytest
from tiny import CONFIG, FRAME_SIZE, tiny_model, tiny_reference_model

from worldloom.errors import ConfigError, MachineError
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears
from worldloom.quantize.fp8_linear import Fp8Linear
from worldloom.quantize.linear import Int8Linear
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import make_fast
from worldloom.rollout.realtime.ulysses import PlaceShare
from worldloom.rollout.session import WorldSession


def test_on_a_cpu_nothing_is_rounded_unless_asked():
    made = make_fast(tiny_model(), RealtimeConfig(cached_latents=7))
    assert made.choices == (
        "linear layers: full precision",
        "attention: full precision",
        "decoder: as it is, on cpu",
        "memory: chosen by the host",
    )
    image = np.zeros((*FRAME_SIZE, 3), np.uint8)
    session = WorldSession(made.model, image=image, prompt="a room", seed=0)
    assert session.committed.capacity == 7


def test_asked_for_int8_the_large_layers_are_int8():
    model = tiny_model()
    made = make_fast(model, RealtimeConfig(linears="int8"))
    assert made.choices[0].startswith("linear layers: INT8, ")
    assert isinstance(model.transformer.blocks[0].ffn[0], Int8Linear)


@pytest.mark.parametrize("changes", [{"linears": "fp8"}, {"attention": "fp8"}])
def test_fp8_by_name_is_refused_where_it_is_not_multiplied(changes):
    with pytest.raises(MachineError, match="FP8 on the CPU"):
        make_fast(tiny_model(), RealtimeConfig(**changes))


def test_layers_that_are_8_bit_stay_as_they_came_and_slow_ones_are_told():
    model = tiny_model()
    quantize_linears(model.transformer, QuantizeLinearsConfig())
    assert make_fast(model, RealtimeConfig()).choices[0] == "linear layers: INT8, as they came"
    model = tiny_model()
    actions = model.transformer.blocks[0].actions
    actions.mouse_qkv = Fp8Linear.from_linear(actions.mouse_qkv)
    told = make_fast(model, RealtimeConfig()).choices[0]
    assert told == "linear layers: FP8, multiplied in float32 (1 of them)"


def test_a_decoders_gpu_that_is_not_there_is_refused():
    with pytest.raises(MachineError, match="decoder_device 'cuda:77'"):
        make_fast(tiny_model(), RealtimeConfig(decoder_device="cuda:77"))


def test_a_share_of_tokens_is_said():
    made = make_fast(tiny_reference_model(), RealtimeConfig(), share=PlaceShare(0, 2))
    assert made.choices[1] == "attention: full precision, shared by 2 processes"


def test_options_that_change_the_student_are_said():
    last = make_fast(tiny_model(), RealtimeConfig(commits_last_step=True))
    assert last.model.commits_last_step
    assert last.choices[-1] == "option: keys and values of the last step instead of a commit"
    repeats = make_fast(tiny_model(), RealtimeConfig(reused_blocks=(1, 2)))
    assert repeats.choices[-1] == "option: later steps repeat the say of blocks 1 to 1"


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected a first block and a later end"):
        RealtimeConfig(reused_blocks=(2, 2))
    with pytest.raises(ValueError, match="expected one of the two"):
        RealtimeConfig(reused_blocks=(1, 2), commits_last_step=True)
    with pytest.raises(ConfigError, match=r"reused_blocks \(1, 3\) of 2 blocks"):
        make_fast(tiny_model(), RealtimeConfig(reused_blocks=(1, 3)))
    with pytest.raises(ConfigError, match="commits_last_step in layout 'reference'"):
        make_fast(tiny_reference_model(), RealtimeConfig(commits_last_step=True))


def test_what_is_fast_already_is_refused():
    made = make_fast(tiny_model(), RealtimeConfig()).model
    with pytest.raises(ConfigError, match="has not been made fast yet"):
        make_fast(made, RealtimeConfig())
    assert made.transformer.config == CONFIG
