"""The plan of an ingestion, and that a clip depends on its task alone."""

from __future__ import annotations

import pytest

from worldloom.config import apply_overrides
from worldloom.data.capture import CaptureConfig, Capturer, SourceCounts, payload_row, plan
from worldloom.data.clips import row_to_clip
from worldloom.data.filters import FilterConfig
from worldloom.data.sources.procedural import ProceduralConfig
from worldloom.errors import ConfigError

CONFIG = CaptureConfig(
    num_frames=17,
    procedural_clips=SourceCounts(train=3, test=2),
    vizdoom_clips=SourceCounts(train=0, test=0),
    procedural=ProceduralConfig(supersample=1),
)


def test_the_plan_is_numbered_and_keeps_worlds_in_one_split() -> None:
    tasks = plan(CaptureConfig())
    assert [task.index for task in tasks] == list(range(len(tasks)))
    assert len(tasks) == 2 * (80 + 16)
    maps = {
        split: {task.map_name for task in tasks if task.split == split and task.map_name}
        for split in ("train", "test")
    }
    assert maps["train"]
    assert maps["test"]
    assert not maps["train"] & maps["test"]


def test_another_seed_captures_other_clips() -> None:
    first = {(task.source, task.seed) for task in plan(CONFIG)}
    second = {(t.source, t.seed) for t in plan(CONFIG.model_copy(update={"seed": 1}))}
    assert not first & second


@pytest.mark.slow
def test_a_clip_depends_on_its_task_alone() -> None:
    tasks = plan(CONFIG)
    with Capturer(CONFIG) as one, Capturer(CONFIG) as other:
        forward = [one.capture(task) for task in tasks]
        backward = [other.capture(task) for task in reversed(tasks)]
    assert forward == backward[::-1]
    clip = row_to_clip(payload_row(forward[0].payload))
    assert clip.num_frames == 17
    assert "maze" in clip.prompt


def test_a_clip_that_is_recorded_is_told_in_the_words_of_one_that_is_captured() -> None:
    task = plan(CONFIG)[0]
    with Capturer(CONFIG) as capturer:
        captured = row_to_clip(payload_row(capturer.capture(task).payload))
        recorded = capturer.record(task)
    assert recorded is not None
    assert recorded.prompt == captured.prompt


def test_a_clip_that_fails_a_filter_carries_its_reason_and_no_bytes() -> None:
    strict = CONFIG.model_copy(update={"filters": FilterConfig(min_sharpness=1e9)})
    with Capturer(strict) as capturer:
        captured = capturer.capture(plan(strict)[0])
    assert captured.reasons == ("blur",)
    assert captured.payload == b""


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("num_frames=96", "96 frames, expected 4n"),
        ("procedural.colour=3", "procedural.colour: no such setting"),
        ("vizdoom_clips.train=-1", "greater than or equal to 0"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        apply_overrides(CONFIG, [override])
