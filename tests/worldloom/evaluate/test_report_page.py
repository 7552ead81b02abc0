"""The page: whole, self-contained, escaped, and honest about a refusal."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from records import GOOD_PARITY, clip_result

from worldloom.errors import DataError
from worldloom.evaluate.gates import GateConfig, judge
from worldloom.evaluate.interval import BootstrapConfig
from worldloom.evaluate.page_charts import Chart, Series
from worldloom.evaluate.report import ControlTrace, Judged, build_report
from worldloom.evaluate.report_page import Curve, PageMedia, Strip, build_report_page

BOOTSTRAP = BootstrapConfig()
VOID = {"meta", "img", "br"}
SUMMARY = {
    "run_id": "run-7",
    "machine": "2 cores",
    "stages": {
        "ingest": {"seconds": 61.2, "reused": False, "reason": "config changed: a <b>"},
        "train_vae": {"seconds": 0.2, "reused": True, "reason": "nothing changed"},
    },
    "frames": 205,
    "first_frame_seconds": 0.414,
    "frames_per_second": 21.34,
    "model_name": "worldloom",
    "model_version": "3",
    "release_digest": "sha256:abc",
    "mlflow_command": "worldloom serve mlflow",
}
TRACE = ControlTrace(
    clip_id="walk", frames=(0, 2, 10), asked=(1, 1, -1), model=(1, 1, -1), ground_truth=(1, 1, -1)
)


class Balance(HTMLParser):
    """Fails on a tag that closes another one."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def report(champion=(), **values):
    clips = [clip_result(name, **values) for name in "abc"]
    return build_report(
        judge(clips, champion or None, GOOD_PARITY, gate=GateConfig(), bootstrap=BOOTSTRAP),
        judged=Judged("sha256:r", "sha256:c", "sha256:k" if champion else ""),
        results=clips,
        champion_results=champion,
        parity=GOOD_PARITY,
        bootstrap=BOOTSTRAP,
        traces=(TRACE,),
    )


def media():
    chart = Chart((Series("loss", ((0.0, 1.0), (1.0, 0.5))),), "step", "loss")
    picture = np.zeros((8, 8, 3), np.uint8)
    return PageMedia(
        film=b"\0mp4",
        film_caption="left and right",
        strips=(Strip("a & b", picture),),
        curves=(Curve("Base model", chart),),
        walk_trace=TRACE,
    )


def page(summary=SUMMARY, made=None, shown=None):
    return build_report_page(summary, made or report(), shown or media())


def test_the_page_is_whole_and_asks_nobody():
    html = page()
    balance = Balance()
    balance.feed(html)
    assert balance.open == []
    assert "<script" not in html
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert re.findall(r"https?://|url\(|@import", html) == []
    assert html.isascii()


def test_it_shows_what_the_run_found():
    html = page()
    for text in ("0.41", "21.3", "205 frames", "ingest", "worldloom version 3", "gate passed"):
        assert text in html
    for text in ("data:video/mp4;base64,", "data:image/png;base64,", "Base model", "sha256:abc"):
        assert text in html
    assert html.count("&#10003;") == 7


def test_what_comes_from_outside_is_escaped():
    html = page()
    assert "a &lt;b&gt;" in html
    assert "a <b>" not in html


def test_a_refusal_is_shown_as_one():
    html = page(made=report(psnr_db=10.0))
    assert "gate refused" in html
    assert "worldloom version 3 stays" in html
    assert html.count("&#10007;") == 1
    assert "-3.0" in html


def test_a_champion_gets_its_column():
    champion = [clip_result(name, psnr_db=19.0) for name in "abc"]
    assert "against the champion" in page(made=report(champion))
    assert "against the champion</th>" not in page()


def test_reuse_is_told():
    assert "1 run now, the others reused" in page()
    reused = {**SUMMARY, "stages": {"ingest": {"seconds": 0.1, "reused": True, "reason": "same"}}}
    assert "all of them reused" in page(reused)


def test_a_page_without_media_stands():
    html = page(shown=PageMedia())
    assert "<video" not in html
    assert "Does it obey?" in html


@pytest.mark.parametrize("key", ["stages", "first_frame_seconds", "frames"])
def test_a_summary_without_a_figure_is_refused(key):
    with pytest.raises(DataError, match=f"summary: {key} is None"):
        page({name: value for name, value in SUMMARY.items() if name != key})
