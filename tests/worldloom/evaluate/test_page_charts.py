"""Charts as SVG."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from worldloom.evaluate.page_charts import Chart, Series, interval_bar, line_chart


def chart(*points, label="a <b>"):
    return Chart((Series(label, points), Series("other", ((0, 1), (10, 3)), "truth")), "x", "y & z")


def svg_of(html):
    return ElementTree.fromstring(html[: html.index("</svg>") + 6])


def test_a_chart_is_one_well_formed_picture_with_a_legend():
    html = line_chart(chart((0.0, 1.0), (10.0, 2.0)))
    svg = svg_of(html)
    assert len(svg.findall("path")) == 2
    assert "a &lt;b&gt;" in html
    assert "y &amp; z" in html


def test_higher_values_are_drawn_higher_and_inside():
    line = svg_of(line_chart(chart((0.0, 1.0), (10.0, 3.0)))).find("path").attrib["d"]
    (x0, y0), (x1, y1) = re.findall(r"([\d.]+) ([\d.]+)", line)
    assert float(x0) < float(x1)
    assert float(y0) > float(y1)
    assert 0 < float(y1) < 240
    assert 0 < float(x0) < float(x1) < 560


def test_a_value_that_is_not_finite_lifts_the_pen():
    line = svg_of(line_chart(chart((0.0, 1.0), (5.0, math.nan), (10.0, 3.0)))).find("path")
    assert line.attrib["d"].count("M") == 2
    assert "nan" not in line.attrib["d"]


def test_a_constant_line_and_a_single_point_have_room():
    assert "nan" not in line_chart(chart((0.0, 1.0)))
    one = Chart((Series("a", ((3.0, 5.0),)),), "x", "y")
    assert svg_of(line_chart(one)).find("circle") is not None


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no finite point"):
        line_chart(Chart((Series("a", ((0.0, math.nan),)),), "x", "y"))


def test_an_interval_shows_its_mean_and_the_limit():
    svg = ElementTree.fromstring(interval_bar(5, 4, 6, domain=(0, 10), limit=8))
    mean = float(svg.find("circle").attrib["cx"])
    limit = next(e for e in svg.findall("line") if e.attrib["class"] == "limit")
    assert mean == pytest.approx(90)
    assert float(limit.attrib["x1"]) > mean
