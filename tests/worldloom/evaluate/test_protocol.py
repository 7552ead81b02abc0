"""Cases are unseen, repeatable and of the kind that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from worldloom.data.captions import TemplateCaptioner
from worldloom.data.capture import CaptureConfig, SourceCounts, plan
from worldloom.data.schema import validate_clip
from worldloom.data.sources.procedural import world_seed
from worldloom.evaluate.protocol import CasesConfig, case_depths, record_case, record_cases


def cases(**values):
    known = {"world": "procedural", "path": "palindrome", "num_cases": 2, "num_frames": 25}
    return CasesConfig.model_validate(known | values)


def test_no_capture_can_draw_a_cases_world():
    counts = SourceCounts(train=2, test=2)
    none = SourceCounts(train=0, test=0)
    config = CaptureConfig(seed=999, procedural_clips=counts, vizdoom_clips=none)
    drawn = {world_seed(task.seed + 99_999, task.split) for task in plan(config)}
    worlds = {int(clip.world) for clip in record_cases(cases())}
    assert len(worlds) == 2
    assert min(worlds) > max(drawn)


def test_a_case_is_the_same_every_time():
    one, other = record_case(cases(), 1), record_cases(cases())[1]
    assert np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.poses_c2w, other.poses_c2w)
    assert one.prompt == TemplateCaptioner().caption(one)  # in the words of training's captions


def test_another_seed_gives_other_worlds():
    worlds = {record_case(cases(seed=seed), 0).world for seed in (0, 1, 2)}
    assert len(worlds) == 3


@pytest.mark.parametrize("path", ["palindrome", "loop", "forward", "still", "laps"])
def test_every_kind_of_way_is_recorded(path):
    clip = record_case(cases(path=path, height=32, width=48), 0)
    validate_clip(clip)
    assert clip.trajectory == path
    assert clip.frames.shape == (25, 32, 48, 3)
    assert clip.split == "test"


def test_a_return_is_recorded_as_a_palindrome_is():
    def recorded(path):
        config = CasesConfig(world="procedural", path=path, num_cases=1, num_frames=25)
        return record_case(config, 0)

    assert np.array_equal(recorded("return").frames, recorded("palindrome").frames)


@pytest.mark.slow
def test_doom_is_walked_on_held_out_maps():
    config = cases(world="vizdoom", path="forward", num_frames=9)
    clips = record_cases(config)
    assert [clip.world for clip in clips] == list(config.vizdoom.test_maps[:2])
    assert not set(config.vizdoom.test_maps) & set(config.vizdoom.train_maps)
    assert case_depths(clips[0]) is None


def test_a_walks_depths_have_its_frames_shape():
    clip = record_case(cases(), 0)
    depths = case_depths(clip)
    assert depths.shape == clip.frames.shape[:3]
    assert depths.min() > 0.1
    assert depths.max() < 64


def test_a_length_that_is_no_latents_is_refused():
    with pytest.raises(ValueError, match="expected 4n\\+1"):
        cases(num_frames=24)
