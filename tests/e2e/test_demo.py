"""The demo's path at its smallest: real engine, real training, MLflow, tritonserver, one stream.

The gate's bars on sample size are lowered, since four short clips are judged; nothing is replaced.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).parents[2]
NUM_FRAMES = 48
TASKS = {
    "ingest",
    "train_vae",
    "encode_latents",
    "train_transformer",
    "distil_student",
    "distil_decoder",
    "quantize",
    "evaluate",
    "promote",
}


def run_demo(home, *options):
    environment = {
        **os.environ,
        "WORLDLOOM_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "2",
    }
    for name in ("WORLDLOOM_STORE", "MLFLOW_TRACKING_URI", "WORLDLOOM_STARTER"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "cli.main", "demo", "--preset", "smallest"]
    command += ["--frames", str(NUM_FRAMES), "--out", str(home / "demo"), *options]
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=540, check=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("a home with spaces")


@pytest.fixture(scope="module")
def first(home):
    done = run_demo(home)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((home / "demo" / "summary.json").read_text())


@pytest.mark.timeout(600)
def test_the_demo_goes_from_an_engine_to_streamed_frames(home, first):
    assert set(first["stages"]) >= TASKS
    assert not any(first["stages"][task]["reused"] for task in TASKS)
    assert first["frames"] == NUM_FRAMES
    assert first["frames_per_second"] > 0
    assert 0 < first["first_frame_seconds"] < 30
    for name in ("clips_digest", "release_digest", "report_digest"):
        assert first[name].startswith("sha256:")
    assert (first["model_name"], first["model_version"]) == ("worldloom", "1")
    assert first["verdict"] == "pass"
    assert first["total_seconds"] > first["pipeline_seconds"] > 0
    assert set(first["control"]) == {
        "yaw_sign_accuracy",
        "yaw_sign_accuracy_ground_truth",
        "left_right_divergence",
        "noise_divergence",
    }
    assert first["metrics"]["psnr_db"] > first["metrics"]["copy_last_frame_psnr_db"]
    with av.open(str(home / "demo" / "walk.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == NUM_FRAMES + 1
    page = (home / "demo" / "report.html").read_text()
    assert "<html" in page
    assert "https://" not in page.replace("http://www.w3.org", "")
    assert (home / "demo" / "contact_sheet.png").stat().st_size > 10_000


@pytest.mark.timeout(600)
def test_the_served_frames_follow_the_recorded_world(first):
    # The student has seen thousands of clips; even two more updates must leave it in the picture.
    assert set(first["walks"]) == {"procedural", "freedoom"}
    for name, walk in first["walks"].items():
        assert walk["psnr_db"] > walk["copy_first_frame_psnr_db"] - 1.0, name


@pytest.mark.timeout(600)
def test_an_unchanged_demo_reuses_every_stage_and_serves_the_same_release(home, first):
    done = run_demo(home)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    again = json.loads((home / "demo" / "summary.json").read_text())
    for task in TASKS:
        assert again["stages"][task]["reused"], (task, again["stages"][task])
        assert again["stages"][task]["reason"]
    assert again["release_digest"] == first["release_digest"]
    assert again["model_version"] == first["model_version"]
    assert again["walks"] == first["walks"]  # the same world, seed and actions: the same frames


def test_no_server_is_left_running(home, first):
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        assert str(home) not in line, line


def test_a_mistyped_setting_is_refused_before_anything_runs(home, first):
    runs = len(list((home / "runs").iterdir()))
    done = run_demo(home, "--set", "train_vae.trainer.num_step=3")
    assert done.returncode == 2
    assert "train_vae.trainer.num_step: no such setting" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((home / "runs").iterdir())) == runs
