"""The library's sessions behind the engine: what goes on elsewhere goes on bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from services import contract
from services.inference.fake_generator import FakeRelease
from services.inference.library_release import LibraryRelease, open_library_release
from services.inference.session_store import FolderSessionStore
from services.starter_release import starter_release
from worldloom.actions import Actions
from worldloom.camera import Intrinsics
from worldloom.errors import MachineError
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VAEDecoder, VAEEncoder
from worldloom.rollout.config import ReleaseConfig, WorldEntry
from worldloom.rollout.release import write_release


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("untrained release")
    shape = TransformerConfig(
        latent_channels=4, latent_height=4, latent_width=4, dim=40, num_blocks=2, num_heads=2,
        ffn_dim=32, num_action_blocks=1, action_dim=16, action_num_heads=2, text_dim=8,
        num_memory_latents=3, num_past_latents=2,
    )  # fmt: skip
    vae = VAEConfig(latent_channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = WorldModelTransformer(shape)
        for parameter in transformer.parameters():
            if not parameter.detach().abs().sum():  # a layer at zero would hide what it reads
                torch.nn.init.normal_(parameter, std=0.1)
        encoder, decoder = VAEEncoder(vae), VAEDecoder(vae)
    height, width = shape.frame_size
    write_release(
        folder,
        ReleaseConfig(
            transformer=shape,
            intrinsics=Intrinsics.from_fov(width, height),
            height=height,
            width=width,
            worlds=(WorldEntry(name="noise", prompt="a noisy room", pitch_radians=0.1),),
        ),
        transformer=transformer,
        encoder=encoder,
        decoder=decoder,
        images={"noise": np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)},
    )
    return folder


@pytest.fixture(scope="module")
def release(folder) -> LibraryRelease:
    torch.set_num_threads(1)
    return open_library_release(folder, "cpu")


def test_a_gpu_that_is_not_there_is_refused(folder):
    with pytest.raises(MachineError, match=r"device 'cuda:77': \d GPUs on this machine"):
        open_library_release(folder, "cuda:77")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_serves_nearly_the_cpus_frames(tmp_path):
    starter_release(tmp_path / "starter")
    shown = []
    for device in ("cpu", "cuda:0"):
        release = open_library_release(tmp_path / "starter", device)
        assert release.release.model.device == torch.device(device)
        walk, length = opened(release), release.frames_per_segment
        frames = [walk.generate_segment(moves(segment, length)) for segment in range(3)]
        shown.append(np.concatenate(frames).astype(float))
        walk.close()
    assert ((shown[0] - shown[1]) ** 2).mean() < 255**2 / 10**4  # 40 dB


def moves(segment: int, num_frames: int) -> Actions:
    actions = Actions.still(num_frames)
    actions.keyboard[:, segment % 4] = 1
    actions.mouse[:, 1] = 0.2 * (-1) ** segment
    return actions


def opened(release, memory=True):
    world = release.worlds[0]
    return release.open_session(
        image=world.image, prompt=world.prompt, seed=3, memory=memory, pitch_radians=0.1
    )


@pytest.mark.parametrize("memory", [True, False])
def test_session_resumed_from_parts_makes_the_pixels_of_an_undisturbed_one(release, memory) -> None:
    length = release.frames_per_segment
    walk = opened(release, memory)
    parts = [walk.snapshot()]
    for segment in range(5):
        walk.generate_segment(moves(segment, length))
        if segment % 2:
            parts.append(walk.snapshot(parts[-1].stop))
    state = parts[0]
    for part in parts[1:]:
        state = state.joined(part)
    assert (state.start, state.stop, state.num_segments) == (0, 5, 4)
    again = release.resume_session(state, prompt="a noisy room", seed=3, memory=memory)
    again.generate_segment(moves(4, length))  # the last of the five was in no part
    for segment in range(5, 8):
        expected = walk.generate_segment(moves(segment, length))
        assert np.array_equal(again.generate_segment(moves(segment, length)), expected)
    assert again.session.memory is memory
    for session in (walk, again):
        session.close()


def test_state_holds_the_actions_that_made_it(release) -> None:
    walk = opened(release)
    length = release.frames_per_segment
    for segment in range(3):
        walk.generate_segment(moves(segment, length))
    actions = walk.snapshot().actions(1, 3)
    expected = [moves(segment, length) for segment in (1, 2)]
    assert np.array_equal(actions.keyboard, np.concatenate([each.keyboard for each in expected]))
    assert np.array_equal(actions.mouse, np.concatenate([each.mouse for each in expected]))
    walk.close()


def test_closed_session_leaves_no_file(release, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    walk = opened(release)
    assert list(tmp_path.iterdir())
    walk.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_session_goes_on_in_another_engine_with_the_same_bytes(
    release, make_bench, tmp_path
) -> None:
    def play(bench, sink, session_id, start, stop):
        for segment in range(start, stop):
            actions = moves(segment, 12)
            message = contract.ActionsMessage(session_id=session_id, action_index=12 * segment)
            bench.send(message, {"keyboard": actions.keyboard, "mouse": actions.mouse})
            bench.run()
            bench.acknowledge(session_id, segment)
        return sink.frames

    bench = make_bench(release)
    whole = bench.open("a", seed=3, encoding="h264")
    bench.run()
    expected = play(bench, whole, "a", 0, 5)
    store = FolderSessionStore(tmp_path)
    first = make_bench(release, store=store)
    sink = first.open("b", seed=3, encoding="h264", is_resumable=True)
    first.run()
    play(first, sink, "b", 0, 3)
    second = make_bench(release, store=store)
    again = second.resume("b", 24, encoding="h264")
    second.run()
    second.acknowledge("b", 2)
    frames = play(second, again, "b", 3, 5)
    assert frames == {index: expected[index] for index in range(25, 61)}


def test_release_says_what_a_fake_one_says(release) -> None:
    names = {name for name in dir(FakeRelease) if not name.startswith("_")}
    names -= {"seconds_per_segment"}
    assert names <= set(dir(release))
