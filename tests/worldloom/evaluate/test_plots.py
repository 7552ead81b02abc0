"""Plots are written, and the same report gives the same bytes."""

from __future__ import annotations

import cv2
import pytest
from records import GOOD_PARITY, clip_result

from worldloom.evaluate.gates import GateConfig, judge
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.plots import write_plots
from worldloom.evaluate.report import PLOT_FILES, ControlTrace, Judged, build_report

BOOTSTRAP = BootstrapConfig()


@pytest.mark.slow
def test_plots_are_pictures_and_repeat(tmp_path):
    clips = [clip_result("a"), clip_result("b", segment_psnr_db=(20.0,))]
    trace = ControlTrace(
        clip_id="a", frames=(0, 2), asked=(1.5, 1.5), model=(1.5, 0.0), ground_truth=(1.5, 1.5)
    )
    report = build_report(
        judge(clips, None, GOOD_PARITY, gate=GateConfig(), bootstrap=BOOTSTRAP),
        judged=Judged("r", "c", ""),
        results=clips,
        champion_results=(),
        parity=GOOD_PARITY,
        bootstrap=BOOTSTRAP,
        traces=(trace,),
    )
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_plots(tmp_path / name, report)
    for file in PLOT_FILES:
        assert cv2.imread(str(tmp_path / "one" / file)).std() > 1
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
