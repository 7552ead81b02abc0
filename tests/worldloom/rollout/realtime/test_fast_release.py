"""A release that is opened fast walks as it walks when it is opened plainly."""

import numpy as np
import pytest
import torch
from tiny import tiny_model
from tiny_release import write_tiny_release

from worldloom.actions import Actions
from worldloom.errors import MachineError
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_release import load_fast_release
from worldloom.rollout.release import load_release

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    model = tiny_model()
    quantize_linears(model.transformer, QuantizeLinearsConfig())
    return write_tiny_release(tmp_path, model)


def frames_of(release):
    [world] = release.worlds
    session = release.open_session(image=world.image, prompt=world.prompt, seed=0)
    actions = Actions.still(release.frames_per_segment)
    return np.concatenate([session.generate_segment(actions) for _ in range(3)]).astype(int)


def test_its_sessions_show_the_same_frames(folder):
    fast = load_fast_release(folder, RealtimeConfig(), CPU)
    assert fast.choices[0] == "linear layers: INT8, as they came"
    plain, found = frames_of(load_release(folder)), frames_of(fast.release)
    assert np.abs(plain - found).max() <= 2  # of 255: a rounding to INT8 may fall otherwise


def test_what_the_device_cannot_do_is_refused(folder):
    with pytest.raises(MachineError, match="FP8 on the CPU"):
        load_fast_release(folder, RealtimeConfig(attention="fp8"), CPU)
