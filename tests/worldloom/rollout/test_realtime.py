"""What only a GPU can show of the fast passes: its kernels, graphs, streams and formats.

Skipped without one; what formulas can show is shown beside each module.
"""

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CONFIG, INTRINSICS, tiny_model
from tiny_release import write_tiny_release

from worldloom.actions import Actions
from worldloom.bench.walk import random_walk
from worldloom.camera import Intrinsics
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.memory.cover import greedy_cover_in_torch
from worldloom.memory.keyframe_index import KeyframeIndex
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.quantize.fp8_linear import Fp8Linear, multiplies_fp8
from worldloom.quantize.rows import FP8, Rows, quantize_rows
from worldloom.rollout.realtime.attention_memory import Fp8Memory, FullMemory
from worldloom.rollout.realtime.captured import Captured, GraphMemory
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.device_cover import DeviceCover
from worldloom.rollout.realtime.fast_model import make_fast
from worldloom.rollout.realtime.fast_release import load_fast_release
from worldloom.rollout.realtime.joint_product import JointProduct
from worldloom.rollout.realtime.product import Product
from worldloom.rollout.release import load_release
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")

GPU = torch.device("cuda")
ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).parent / "realtime" / "ulysses_walk.py"
# Heads and widths that a GPU multiplies in 8 bits.
SHAPE = CONFIG.model_dump() | {
    "latent_height": 8,
    "latent_width": 8,
    "dim": 256,
    "ffn_dim": 512,
    "action_dim": 64,
    "text_dim": 16,
    "num_blocks": 4,
    "position": "panorama",
    "reach": "segment",
}


def model_on_gpu():
    """A small world model in bfloat16, every layer filled."""
    model = tiny_model()
    config = TransformerConfig.model_validate(SHAPE)
    torch.manual_seed(0)
    transformer = WorldModelTransformer(config)
    for parameter in transformer.parameters():
        if not parameter.detach().abs().sum():
            torch.nn.init.normal_(parameter, std=0.1)
    transformer.eval().requires_grad_(requires_grad=False)
    rows, columns = config.frame_size
    return dataclasses.replace(
        model,
        transformer=transformer.to(GPU, torch.bfloat16),
        encoder=model.encoder.to(GPU, torch.bfloat16),
        decoder=model.decoder.to(GPU, torch.bfloat16),
        conditioner=Conditioner(config, type(INTRINSICS).from_fov(rows, columns)).to(GPU),
    )


def walk(model, num_segments=6):
    """Latents and frames of a walk on which frames are waited for a segment late."""
    image = np.random.default_rng(0).integers(0, 256, (*model.frame_size, 3)).astype(np.uint8)
    session = WorldSession(model, image=image, prompt="a room", seed=0)
    pending = []
    for yaw in np.linspace(-0.3, 0.3, num_segments):
        size = session.segment_frames
        keyboard, mouse = np.zeros((size, 6), np.float32), np.zeros((size, 2), np.float32)
        keyboard[:, 0], mouse[:, 1] = 1, yaw
        pending.append(session.begin_segment(Actions(keyboard, mouse)))
    frames = np.concatenate([one.wait() for one in pending])
    return session.truth.latents(range(len(session.truth))), frames.astype(int)


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_fp8_attention_answers_what_attention_answers():
    if not multiplies_fp8(GPU):
        pytest.skip("this GPU does not multiply FP8")
    torch.manual_seed(0)
    length, heads, head_dim, context = 200, 2, 128, 75  # neither whole tiles nor sixteens
    memories = (
        Fp8Memory((1, context + length, heads, head_dim), GPU),
        FullMemory((1, context + length, heads, head_dim), torch.bfloat16, GPU),
    )
    width = heads * head_dim
    norm = torch.nn.RMSNorm(width, eps=1e-6).to(GPU, torch.bfloat16)
    angles = [
        torch.randn(1, count, heads, head_dim // 2, device=GPU) for count in (context, length)
    ]
    rotations = [(angle.cos().half(), angle.sin().half()) for angle in angles]

    def rows(count):
        return Product(torch.randn(count, width, device=GPU, dtype=torch.bfloat16))

    keys, values = [rows(context), rows(length)], [rows(context), rows(length)]
    query, answers = rows(length), []
    mask = torch.rand(1, context + length, device=GPU) < 0.7
    for memory in memories:
        for at, rotation, own_keys, own_values in zip(
            (0, context), rotations, keys, values, strict=True
        ):
            memory.write_keys(at, own_keys, norm, rotation)
            memory.write_values(at, own_values, None)
        for seen in (None, mask):
            answers.append(memory.read(query, norm, rotations[1], seen).float())
    for found, expected in zip(answers[:2], answers[2:], strict=True):
        assert relative(found, expected) < 0.08


# Attention is named: what is measured may be chosen otherwise the second time.
@pytest.mark.parametrize("attention", ["full", "fp8"])
def test_a_replayed_walk_is_the_launched_walk(attention):
    launched, replayed = (
        walk(
            make_fast(
                model_on_gpu(), RealtimeConfig(attention=attention, captures_graphs=captures)
            ).model
        )
        for captures in (False, True)
    )
    assert torch.equal(launched[0], replayed[0])
    assert np.array_equal(launched[1], replayed[1])


@pytest.mark.parametrize("options", [{"commits_last_step": True}, {"reused_blocks": (1, 3)}])
def test_an_option_is_the_same_in_graphs(options):
    def walked(**more):
        config = RealtimeConfig(attention="full", **more)
        return walk(make_fast(model_on_gpu(), config).model)[0]

    launched, replayed = (walked(captures_graphs=captures, **options) for captures in (False, True))
    assert torch.equal(launched, replayed)
    assert not torch.equal(replayed, walked())


def test_a_walk_in_full_precision_stays_near_the_plain_one():
    full = RealtimeConfig(linears="full", attention="full")
    found, expected = walk(make_fast(model_on_gpu(), full).model), walk(model_on_gpu())
    assert relative(found[0], expected[0]) < 0.05


def test_frames_decoded_beside_are_those_decoded_in_between():
    beside, between = (
        walk(make_fast(model_on_gpu(), RealtimeConfig(decodes_beside=is_beside)).model)
        for is_beside in (True, False)
    )
    assert np.array_equal(beside[1], between[1])


def test_other_threads_call_cuda_while_a_graph_is_captured():
    is_over, failures, num_calls = threading.Event(), [], 0

    def keep_calling():
        nonlocal num_calls
        stream = torch.cuda.Stream()
        while not is_over.is_set():
            try:
                with torch.cuda.stream(stream):
                    pinned = torch.empty(1 << 16, pin_memory=True)
                    pinned.to(GPU, non_blocking=True)
                    event = torch.cuda.Event()
                    event.record(stream)
                event.synchronize()
                num_calls += 1
            except RuntimeError as error:
                failures.append(error)
                return

    other = threading.Thread(target=keep_calling)
    other.start()
    x = torch.arange(4.0, device=GPU)
    memory = GraphMemory()
    for power in range(20):
        captured = Captured(lambda y, p=power: (y + 1) ** p, memory)
        for at in (x, 2 * x):
            torch.testing.assert_close(captured(at), (at + 1) ** power)
    is_over.set()
    other.join()
    assert not failures
    assert num_calls


@pytest.mark.parametrize("num_queries", [1, 3])
def test_the_gpu_chooses_the_memory_that_the_host_chooses(num_queries):
    poses = torch.from_numpy(random_walk(np.random.default_rng(0), 4 * 300)[::4])
    camera = Intrinsics.from_fov(704, 1280)
    indices = [
        KeyframeIndex(BankConfig(), RetrievalConfig(), camera, cover=cover)
        for cover in (greedy_cover_in_torch, DeviceCover(GPU))
    ]
    for at in range(len(poses) - num_queries):
        for index in indices:
            index.append(poses[at])
        if not at % 7:
            asked = poses[at + 1 : at + 1 + num_queries], 5, max(0, at - 4)
            expected, found = (index.query(*asked).tolist() for index in indices)
            assert found == expected


def test_a_release_opened_fast_shows_nearly_the_cpus_frames(tmp_path):
    write_tiny_release(tmp_path, tiny_model())
    full = RealtimeConfig(linears="full", attention="full")
    fast = load_fast_release(tmp_path, full, GPU).release
    assert fast.model.device.type == "cuda"
    shown = []
    for release in (load_release(tmp_path), fast):
        [world] = release.worlds
        session = release.open_session(image=world.image, prompt=world.prompt, seed=0)
        still = Actions.still(release.frames_per_segment)
        shown.append(session.begin_segment(still).wait().astype(int))
    assert np.abs(shown[0] - shown[1]).mean() < 3  # of 255


def test_layers_joined_answer_what_each_answers_alone():
    if not multiplies_fp8(GPU):
        pytest.skip("this GPU does not multiply FP8")
    torch.manual_seed(0)
    layers = [Fp8Linear.from_linear(torch.nn.Linear(256, 128)).to(GPU) for _ in range(3)]
    rows = Rows(*quantize_rows(torch.randn(300, 256, device=GPU), FP8))
    alone = [layer.of_rows(rows, torch.bfloat16) for layer in layers]
    joint = JointProduct(layers)(rows, torch.bfloat16)
    assert layers[1].weight.untyped_storage().data_ptr() == (
        layers[0].weight.untyped_storage().data_ptr()
    )
    for found, expected in zip(joint, alone, strict=True):
        assert relative(found.finished().float(), expected.float()) < 0.01


@needs_two
def test_frames_decoded_on_another_gpu_are_the_same():
    here, there = (
        walk(make_fast(model_on_gpu(), RealtimeConfig(decoder_device=device)).model)
        for device in (None, "cuda:1")
    )
    assert torch.equal(here[0], there[0])
    assert np.abs(here[1] - there[1]).max() <= 1  # of 255


@needs_two
@pytest.mark.parametrize("number_format", ["full", "fp8"])
def test_two_processes_on_two_gpus_walk_as_one(tmp_path, number_format):
    walks = {
        count: [tmp_path / f"{rank}-of-{count}.pt" for rank in range(count)] for count in (1, 2)
    }
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                PROGRAM,
                str(rank),
                str(count),
                tmp_path / f"store-{count}",
                out,
                number_format,
            ],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for count, outs in walks.items()
        for rank, out in enumerate(outs)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert not process.returncode, errors[-3000:]
    finally:
        for process in processes:
            process.kill()
    [expected] = map(torch.load, walks[1])
    for found in map(torch.load, walks[2]):
        assert relative(found, expected) < 0.03


def test_values_rounded_to_fp8_keep_their_place():
    """A value's column is that of its token, wherever writing began."""
    if not multiplies_fp8(GPU):
        pytest.skip("this GPU does not multiply FP8")
    memory = Fp8Memory((1, 64, 1, 128), GPU)
    values = torch.zeros(40, 128, device=GPU, dtype=torch.bfloat16)
    values[11] = 1
    memory.write_values(5, Product(values), None)
    query = torch.zeros(3, 128, device=GPU, dtype=torch.bfloat16)
    norm = torch.nn.RMSNorm(128, eps=1e-6).to(GPU, torch.bfloat16)
    still = torch.ones(1, 3, 1, 64, device=GPU), torch.zeros(1, 3, 1, 64, device=GPU)
    for token in (15, 16, 17):
        mask = torch.zeros(1, 64, dtype=torch.bool, device=GPU)
        mask[0, token] = True
        answer = memory.read(Product(query), norm, still, mask)
        assert bool((answer == (token == 16)).all())
    assert memory._values.dtype is FP8
