from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.chaos import choose_tasks, page_of, rows_of, table_rows, write_results
from pipelines.kill_drill import Finding
from worldloom.errors import ConfigError

KNOWN = ["ingest", "train_vae", "promote"]
GOOD = Finding("ingest", digests_equal=True, killed_after_seconds=1.25, resumed=True, went_on=True)
ALONE = Finding("train_vae", digests_equal=True)


def results() -> dict[str, object]:
    rows = [{"usual_seconds": 3.0, "outputs": {}, **row} for row in rows_of([GOOD, ALONE], KNOWN)]
    return {
        "preset": "smallest",
        "set": ["train_vae.trainer.num_steps=4"],
        "seed": 3,
        "machine": {"cpu_count": 2, "threads": None},
        "tasks": rows,
        "is_good": False,
    }


def test_tasks_are_killed_in_the_order_in_which_they_run() -> None:
    assert choose_tasks("promote, ingest", KNOWN) == ["ingest", "promote"]
    assert choose_tasks("", KNOWN) == KNOWN
    with pytest.raises(ConfigError, match=r"'ingets'.*ingest, train_vae, promote"):
        choose_tasks("ingets", KNOWN)


def test_only_a_task_that_was_to_be_killed_is_blamed_for_living() -> None:
    assert [row["is_good"] for row in rows_of([GOOD, ALONE], KNOWN)] == [True, False]
    assert [row["is_good"] for row in rows_of([GOOD, ALONE], ["ingest"])] == [True, True]


def test_the_page_says_how_to_get_the_same_and_what_came_of_it(tmp_path: Path) -> None:
    page = page_of(results())
    assert "chaos pipeline --preset smallest --seed 3 --set train_vae.trainer.num_steps=4`" in page
    assert "Machine: cpu_count 2." in page
    assert "\n| ingest | 3.00 | 1.25 | yes | yes | 0 | yes |\n" in page
    assert "\n| train_vae | 3.00 | - | - | - | 0 | yes |\n" in page
    write_results(tmp_path / "results" / "chaos.json", results())
    written = json.loads((tmp_path / "results" / "chaos.json").read_text())
    assert written["tasks"][0]["digests_equal"] is True
    assert (tmp_path / "results" / "chaos.md").read_text() == page
    assert "outputs" not in table_rows(written)[0]
