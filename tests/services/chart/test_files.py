from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.chart.files import CHART, TABLE_END, TABLE_START, chart_files, with_table
from services.chart.values import ChartValues
from worldloom.config import parse_config


@pytest.mark.parametrize("name", ["values.yaml", "values.schema.json", "README.md"])
def test_the_charts_file_is_what_its_values_make(name: str) -> None:
    path = CHART / name
    assert path.read_text() == chart_files(CHART)[path], "run: python -m services.chart.files"


def test_values_file_holds_every_default() -> None:
    written = yaml.safe_load((CHART / "values.yaml").read_text())
    assert parse_config(ChartValues, written) == ChartValues()


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, value in schema.items():
            yield from objects(value, f"{path}/{key}")


def test_schema_is_strict_everywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = dict(objects(schema))
    assert len(found) > 15
    for path, definition in found.items():
        assert definition["additionalProperties"] is False, path


def test_schema_names_its_dialect_and_no_titles() -> None:
    text = (CHART / "values.schema.json").read_text()
    assert json.loads(text)["$schema"].endswith("2020-12/schema")
    assert '"title"' not in text


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        with_table("no table here")


def test_only_the_table_changes() -> None:
    text = with_table(f"above\n{TABLE_START}\nold\n{TABLE_END}\nbelow\n")
    assert text.startswith("above\n")
    assert text.endswith(f"{TABLE_END}\nbelow\n")
    assert "\nold\n" not in text
    assert "| `inference.replicas` | `1` |" in text


def test_chart_stands_where_the_writer_looks() -> None:
    assert Path(CHART, "Chart.yaml").is_file()
