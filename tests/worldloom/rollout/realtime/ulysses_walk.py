"""One process of several that walk together; not a test.

`python ulysses_walk.py RANK PROCESSES STORE OUT` walks a small reference session whose tokens are
shared by all processes and saves its latents.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tiny import FRAME_SIZE, tiny_reference_model

from worldloom.actions import Actions
from worldloom.rollout.realtime.fast_transformer import FastTransformer
from worldloom.rollout.realtime.ulysses import PlaceShare
from worldloom.rollout.reference_session import ReferenceSession
from worldloom.rollout.world_model import WorldModel

IMAGE = np.random.default_rng(0).integers(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)


def walk(model: WorldModel) -> torch.Tensor:
    session = ReferenceSession(model, image=IMAGE, prompt="a room", seed=0)
    for yaw in (0.1, -0.2):
        size = session.segment_frames
        keyboard, mouse = np.zeros((size, 6), np.float32), np.zeros((size, 2), np.float32)
        keyboard[:, 0], mouse[:, 1] = 1, yaw
        session.generate_segment(Actions(keyboard, mouse))
    return session.truth.latents(range(len(session.truth)))


if __name__ == "__main__":
    rank, num_processes, store, out = sys.argv[1:]
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=int(rank), world_size=int(num_processes)
    )
    model = tiny_reference_model()
    share = PlaceShare.of_this_process(model.transformer.config)
    network = FastTransformer(model.transformer, share=share)
    torch.save(walk(dataclasses.replace(model, transformer=network)), out)
    torch.distributed.destroy_process_group()
