"""What is rendered in which order, and that processes share it."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from worldloom.legs.clip_file import ClipFolder, clip_path
from worldloom.legs.config import FeedConfig
from worldloom.legs.feed import render_share, tasks_of
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.config import TransformerConfig

FEED = FeedConfig(num_frames=25, procedural_clips=3, vizdoom_clips=2, held_out_clips=1, seed=4)


def test_held_out_clips_come_first_and_sources_take_turns() -> None:
    captures = [FEED.capture(96, 160, is_held_out=held_out) for held_out in (True, False)]
    tasks = [task for _, task in tasks_of(captures)]
    assert [(task.split, task.source) for task in tasks] == [
        ("test", "procedural"),
        ("test", "vizdoom"),
        ("train", "procedural"),
        ("train", "vizdoom"),
        ("train", "procedural"),
        ("train", "vizdoom"),
        ("train", "procedural"),
    ]
    assert {task.seed for task in tasks[:2]} == {0}  # the same in every leg
    assert {task.seed // 100_000 for task in tasks[2:]} == {4}


def test_a_process_renders_its_share_and_nothing_twice(tmp_path: Path) -> None:
    feed = FEED.model_copy(update={"procedural_clips": 3, "vizdoom_clips": 0})
    shape, is_over = TransformerConfig(), multiprocessing.get_context("spawn").Event()
    captures = [feed.capture(64, 64, is_held_out=held_out) for held_out in (True, False)]
    texts = [capture.model_dump_json() for capture in captures]
    settings = (shape.model_dump_json(), RetrievalConfig().model_dump_json())
    there = clip_path(tmp_path, "train", 2)
    there.write_bytes(b"rendered by an earlier leg")
    render_share(tmp_path, texts, settings, (0, 2), is_over)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["test-0000000.safetensors", "train-0000002.safetensors"]
    assert there.read_bytes() == b"rendered by an earlier leg"
    [clip] = ClipFolder(tmp_path, "test").poll(1)
    assert clip.frames.shape == (25, 64, 64, 3)
    is_over.set()
    render_share(tmp_path, texts, settings, (1, 2), is_over)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_rendering_gives_way_to_the_training() -> None:
    script = f"""
import os
from pathlib import Path
from worldloom.legs.feed import render_beside

class Over:
    def is_set(self):
        print(os.nice(0))
        return True

texts = ({TransformerConfig().model_dump_json()!r}, {RetrievalConfig().model_dump_json()!r})
capture = {FEED.capture(64, 64, is_held_out=True).model_dump_json()!r}
before = os.nice(0)
render_beside(Path("nowhere"), [capture], texts, (0, 1), Over())
print(before)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    beside, before = (int(line) for line in told.stdout.split())
    assert beside == min(before + 10, 19)  # the kernel knows no more than 19
