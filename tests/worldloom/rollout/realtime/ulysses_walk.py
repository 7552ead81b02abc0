"""One process of several that walk together; not a test.

`python ulysses_walk.py RANK PROCESSES STORE OUT [FORMAT]` walks a small reference session whose
tokens are shared by all processes and saves its latents: on the CPU, or, where a number format is
named (full, fp8), each process on a GPU of its own.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tiny import FRAME_SIZE, tiny_reference_model

from worldloom.actions import Actions
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import make_fast
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


def on_gpu(model: WorldModel, rank: int) -> WorldModel:
    """Return a model of a width that GPUs multiply in 8 bits, on a GPU of its own."""
    device, dtype = torch.device("cuda", rank), torch.bfloat16
    torch.cuda.set_device(device)
    shape = model.transformer.config.model_dump() | {"dim": 256, "ffn_dim": 512, "action_dim": 64}
    torch.manual_seed(0)
    transformer = WorldModelTransformer(TransformerConfig.model_validate(shape))
    for parameter in transformer.parameters():
        if not parameter.detach().abs().sum():
            torch.nn.init.normal_(parameter, std=0.1)
    return dataclasses.replace(
        model,
        transformer=transformer.eval().requires_grad_(requires_grad=False).to(device, dtype),
        encoder=model.encoder.to(device, dtype),
        decoder=model.decoder.to(device, dtype),
        conditioner=model.conditioner.to(device),
    )


if __name__ == "__main__":
    rank, num_processes, store, out, *number_format = sys.argv[1:]
    torch.distributed.init_process_group(
        "nccl" if number_format else "gloo",
        init_method=f"file://{store}",
        rank=int(rank),
        world_size=int(num_processes),
    )
    model, config = tiny_reference_model(), RealtimeConfig()
    if number_format:
        model = on_gpu(model, int(rank))
        config = RealtimeConfig(linears="full", attention=number_format[0])
    share = PlaceShare.of_this_process(model.transformer.config)
    torch.save(walk(make_fast(model, config, share=share).model), out)
    gc.collect()  # graphs hold the group's exchanges, and must be gone before it
    torch.distributed.destroy_process_group()
