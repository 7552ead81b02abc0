"""The chart's files that are made from its values: defaults, schema and the README's table.

`python -m services.chart.files` writes them into `helm/worldloom`; a test compares. It does not
know what a value means, only how the files are written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from services.chart.values import ChartValues
from worldloom.config import JsonValue

CHART = Path(__file__).parents[2] / "helm" / "worldloom"
TABLE_START = "<!-- values: made by python -m services.chart.files -->"
TABLE_END = "<!-- end of values -->"
_HEADER = "# Made by `python -m services.chart.files` from services/chart/values.py.\n"


def schema_text() -> str:
    """Return the text of `values.schema.json`."""
    schema = ChartValues.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_titles(schema)}
    return json.dumps(schema, indent=2) + "\n"


def values_text() -> str:
    """Return the text of `values.yaml`: every default under its meaning."""
    return _HEADER + "\n".join(_yaml_lines(ChartValues(), indent="")) + "\n"


def table_text() -> str:
    """Return the README's table of values."""
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, default, meaning in _leaves(ChartValues(), ""):
        rows.append(f"| `{path}` | `{json.dumps(default)}` | {meaning} |")
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """Return a README's text with the table between its markers made anew.

    Raises:
        ValueError: when the markers are not there.
    """
    start, end = readme.find(TABLE_START), readme.find(TABLE_END)
    if not 0 <= start < end:
        message = f"the chart's README lacks {TABLE_START!r} before {TABLE_END!r}"
        raise ValueError(message)
    return f"{readme[: start + len(TABLE_START)]}\n\n{table_text()}\n\n{readme[end:]}"


def chart_files(chart: Path) -> dict[Path, str]:
    """Return the text that each made file of a chart should have."""
    readme = chart / "README.md"
    return {
        chart / "values.schema.json": schema_text(),
        chart / "values.yaml": values_text(),
        readme: with_table(readme.read_text(encoding="utf-8")),
    }


def main() -> None:
    """Write the files."""
    for path, text in chart_files(CHART).items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(CHART.parents[1])}\n")


def _without_titles(schema: Mapping[str, object]) -> dict[str, object]:
    cleaned: dict[str, object] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        cleaned[key] = _without_titles(value) if isinstance(value, Mapping) else value
    return cleaned


def _fields(model: BaseModel) -> Iterator[tuple[str, str, object]]:
    """Yield the key, the meaning and the value of each field."""
    for name, field in type(model).model_fields.items():
        yield field.alias or name, field.description or "", model.__dict__[name]


def _plain(value: object) -> JsonValue:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, BaseModel):
        plain: JsonValue = value.model_dump(mode="json", by_alias=True)
        return plain
    assert value is None or isinstance(value, str | int | float), "values are plain"
    return value


def _yaml_lines(model: BaseModel, indent: str) -> Iterator[str]:
    for key, meaning, value in _fields(model):
        yield f"{indent}# {meaning}"
        if isinstance(value, BaseModel):
            yield f"{indent}{key}:"
            yield from _yaml_lines(value, f"{indent}  ")
        else:
            # JSON is YAML, and leaves no doubt about what is text.
            yield f"{indent}{key}: {json.dumps(_plain(value))}"


def _leaves(model: BaseModel, prefix: str) -> Iterator[tuple[str, JsonValue, str]]:
    for key, meaning, value in _fields(model):
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value), meaning


if __name__ == "__main__":
    main()
