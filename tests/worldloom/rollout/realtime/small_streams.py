"""Tiny streams of several shapes, and a walk through them; not a test."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from tiny import FRAME_SIZE, INTRINSICS, tiny_model

from worldloom.actions import Actions
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.rollout.realtime.fast_transformer import FastTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession

IMAGE = np.random.default_rng(0).integers(0, 256, (*FRAME_SIZE, 3)).astype(np.uint8)


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


def prepared_of(model, network):
    session = WorldSession(model, image=IMAGE, prompt="a room", seed=0)
    poses = session._on_device(session.pose)
    windows = session._windows_on_device(session.truth.windows(range(1)))
    return network.prepare(model.conditioner.clean(poses, windows, session._prompt))
