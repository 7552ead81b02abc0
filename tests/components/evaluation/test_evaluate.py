"""The evaluation step on a tiny release: a whole report, the same bytes again, a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from components.evaluation.config import EvaluateStepConfig
from components.evaluation.evaluate import STEP, run
from components.runtime import StepContext
from worldloom.camera import Intrinsics, Kinematics, integrate_poses
from worldloom.data.clips import write_clips
from worldloom.data.schema import Clip, Source, Split
from worldloom.errors import ArtifactError, DataError
from worldloom.evaluate.parity_report import ParityReport, write_parity
from worldloom.evaluate.report import CONTACT_SHEET_FILE, FILM_FILE, PLOT_FILES, read_report
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VideoVAE
from worldloom.rollout.config import ReleaseConfig, SamplerConfig, WorldEntry
from worldloom.rollout.release import write_release
from worldloom.store import ArtifactStore, open_store
from worldloom.train.tracking import NullTracker

FRAMES = 25
SIZE = 32
TRANSFORMER = TransformerConfig(
    latent_height=4,
    latent_width=4,
    dim=32,
    num_blocks=2,
    num_heads=2,
    ffn_dim=64,
    num_action_blocks=1,
    action_dim=16,
    action_num_heads=2,
    text_dim=16,
    num_past_latents=2,
    num_memory_latents=2,
)
SUITE = {"clips_per_source": 1, "max_segments": 1, "divergence_segments": 1}


class Notes(NullTracker):
    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.files: list[str] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics |= metrics

    def log_file(self, path: Path, folder: str) -> None:
        assert path.is_file()
        self.files.append(path.name)


def clip(name: str, source: Source, split: Split) -> Clip:
    keyboard, mouse = np.zeros((FRAMES, 6)), np.zeros((FRAMES, 2))
    mouse[1:, 1] = 0.15
    return Clip(
        clip_id=name,
        source=source,
        world=name,
        split=split,
        trajectory="spin",
        prompt="a hall",
        frames=np.random.default_rng(len(name)).integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8),
        poses_c2w=integrate_poses(np.eye(4), keyboard, mouse, Kinematics()).astype(np.float32),
        intrinsics=Intrinsics.from_fov(SIZE, SIZE),
        keyboard=keyboard.astype(np.float32),
        mouse=mouse.astype(np.float32),
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def store(shared: Path) -> ArtifactStore:
    return open_store(str(shared / "store"))


@pytest.fixture(scope="module")
def clips(shared: Path, store: ArtifactStore) -> str:
    folder = shared / "clips"
    found = [clip("t", "procedural", "train"), clip("pp", "procedural", "test")]
    write_clips(folder, [*found, clip("vvv", "vizdoom", "test")])
    return store.put(folder, kind="clips", config={}, parents={})


def put_release(shared: Path, store: ArtifactStore, seed: int) -> str:
    folder = shared / f"release-{seed}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer, vae = WorldModelTransformer(TRANSFORMER), VideoVAE(VAEConfig())
        torch.nn.init.normal_(transformer.head.weight, std=0.1)
    config = ReleaseConfig(
        transformer=TRANSFORMER,
        sampler=SamplerConfig(sigmas=(1.0,)),
        intrinsics=Intrinsics.from_fov(SIZE, SIZE),
        height=SIZE,
        width=SIZE,
        worlds=(WorldEntry(name="hall", prompt="a hall"),),
    )
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    write_release(
        folder,
        config,
        transformer=transformer,
        encoder=vae.encoder,
        decoder=vae.decoder,
        images={"hall": image},
    )
    write_parity(
        folder,
        ParityReport(
            latent_cosine=0.99, latent_relative_error=0.1, frame_psnr_db=30.0, num_frames=12
        ),
    )
    return store.put(folder, kind="release", config={}, parents={})


@pytest.fixture(scope="module")
def release(shared: Path, store: ArtifactStore) -> str:
    return put_release(shared, store, 0)


@dataclass
class Evaluated:
    """One evaluation of the release, run to its end."""

    scratch: Path
    notes: Notes
    outputs: dict[str, str]


@pytest.fixture(scope="module")
def evaluated(shared: Path, store: ArtifactStore, clips: str, release: str) -> Evaluated:
    scratch, notes = shared / "evaluated", Notes()
    outputs = run_in(scratch, store, tracker=notes, release=release, clips=clips)
    return Evaluated(scratch, notes, outputs)


def run_in(
    scratch: Path,
    store: ArtifactStore,
    *,
    tracker: NullTracker | None = None,
    **parents: str,
) -> dict[str, str]:
    scratch.mkdir(exist_ok=True)
    config = EvaluateStepConfig.model_validate({"suite": SUITE, "num_threads": 1})
    found = {"champion": ""} | parents
    return dict(run(StepContext(config, found, store, scratch, tracker or NullTracker())))


@pytest.mark.slow
def test_an_untrained_release_is_refused_with_a_whole_report(
    tmp_path: Path, store: ArtifactStore, clips: str, release: str, evaluated: Evaluated
) -> None:
    outputs, notes = evaluated.outputs, evaluated.notes
    assert tuple(outputs) == STEP.outputs
    folder = store.fetch(outputs["report"], kind="evaluation-report")
    report = read_report(folder)
    assert (report.verdict, outputs["verdict"]) == ("refuse", "refuse")
    assert [found.clip_id for found in report.clips] == ["pp", "vvv"]
    assert report.release == release
    assert report.parity is not None
    assert store.manifest(outputs["report"]).parents == {"release": release, "clips": clips}
    for name in (FILM_FILE, CONTACT_SHEET_FILE, *PLOT_FILES):
        assert (folder / name).stat().st_size > 500
        assert name in notes.files
    assert notes.metrics["evaluation/psnr_db"] == report.figures["psnr_db"].mean
    assert notes.metrics["evaluation/segment_seconds_p50"] > 0
    again = run_in(tmp_path / "b", store, release=release, clips=clips)
    assert again == outputs


@pytest.mark.slow
def test_a_champion_is_compared_and_met_as_itself(
    tmp_path: Path, shared: Path, store: ArtifactStore, clips: str, release: str
) -> None:
    champion = put_release(shared, store, 1)
    outputs = run_in(tmp_path / "a", store, release=release, clips=clips, champion=champion)
    report = read_report(store.fetch(outputs["report"]))
    assert report.champion == champion
    assert len(report.champion_clips) == 2
    assert "psnr_db" in report.differences
    assert store.manifest(outputs["report"]).parents["champion"] == champion

    outputs = run_in(tmp_path / "b", store, release=release, clips=clips, champion=release)
    report = read_report(store.fetch(outputs["report"]))
    assert outputs["verdict"] == "pass"
    assert report.reasons[0].startswith("already champion")


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_report(
    tmp_path: Path, store: ArtifactStore, clips: str, release: str, evaluated: Evaluated
) -> None:
    kept = evaluated.scratch / "release"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "release").mkdir()
    for name in ("0000.json", "0000.npy"):
        (tmp_path / "b" / "release" / name).write_bytes((kept / name).read_bytes())
    notes = Notes()
    again = run_in(tmp_path / "b", store, tracker=notes, release=release, clips=clips)
    assert again == evaluated.outputs
    assert "evaluation/segment_seconds_p50" not in notes.metrics


def test_no_release_and_no_held_out_clips_are_refused(
    tmp_path: Path, store: ArtifactStore, clips: str, release: str
) -> None:
    with pytest.raises(ArtifactError, match="no artifact was given"):
        run_in(tmp_path / "a", store, release="", clips=clips)
    folder = tmp_path / "train-only"
    write_clips(folder, [clip("t", "procedural", "train")])
    train = store.put(folder, kind="clips", config={}, parents={})
    with pytest.raises(DataError, match="no held-out clip"):
        run_in(tmp_path / "b", store, release=release, clips=train)
