"""The report file."""

from __future__ import annotations

import pytest
from records import GOOD_PARITY, clip_result

from worldloom.errors import ArtifactError, ConfigError
from worldloom.evaluate.gates import GateConfig, judge
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.report import (
    REPORT_FILE,
    Judged,
    build_report,
    read_report,
    write_report,
)

BOOTSTRAP = BootstrapConfig()


def report(champion=()):
    clips = [clip_result(name) for name in "abc"]
    verdict = judge(clips, champion or None, GOOD_PARITY, gate=GateConfig(), bootstrap=BOOTSTRAP)
    return build_report(
        verdict,
        judged=Judged("sha256:r", "sha256:c", "sha256:k" if champion else ""),
        results=clips,
        champion_results=champion,
        parity=GOOD_PARITY,
        bootstrap=BOOTSTRAP,
    )


def test_what_is_written_is_read(tmp_path):
    write_report(tmp_path, report())
    assert read_report(tmp_path) == report()


def test_control_and_metrics_share_the_figures():
    found = report()
    assert set(found.control()) == {
        "yaw_sign_accuracy",
        "yaw_sign_accuracy_ground_truth",
        "left_right_divergence",
        "noise_divergence",
    }
    assert found.metrics()["copy_last_frame_psnr_db"] == 13.0
    assert not set(found.control()) & set(found.metrics())
    assert found.figures["psnr_db"].unit == "dB"


def test_a_champion_brings_differences():
    found = report([clip_result(name, psnr_db=19.0) for name in "abc"])
    assert found.champion == "sha256:k"
    assert found.differences["psnr_db"].mean == 1.0
    assert found.champion_figures["psnr_db"].mean == 19.0
    assert report().differences == {}


def test_a_missing_or_foreign_report_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=REPORT_FILE):
        read_report(tmp_path)
    (tmp_path / REPORT_FILE).write_text('{"verdict": "maybe"}')
    with pytest.raises(ConfigError, match=REPORT_FILE):
        read_report(tmp_path)
