"""A release leads to everything it came from, and to who made it."""

from __future__ import annotations

import shutil

from services.registry.lineage import ancestry, lineage_tags


def test_ancestry_reaches_the_clips_once_and_names_runs(store, workshop) -> None:
    release = workshop.release("one")
    student = store.manifest(release).parents["student"]
    store.put_record(
        "steps/abc.json",
        {
            "step": "distil_student",
            "outputs": {"student": student},
            "provenance": {"tracking_run_id": "run7", "commit": "c0ffee"},
        },
    )
    found = {ancestor.kind: ancestor for ancestor in ancestry(store, release)}
    assert list(found) == ["release", "clips", "student-checkpoint"]
    assert found["student-checkpoint"].step == "distil_student"
    assert (found["student-checkpoint"].run, found["student-checkpoint"].commit) == (
        "run7",
        "c0ffee",
    )
    assert (found["clips"].role, found["clips"].depth) == ("clips", 1)


def test_an_ancestor_that_was_cleaned_away_is_still_named(store, workshop) -> None:
    release = workshop.release("one")
    clips = store.manifest(release).parents["clips"]
    folder = store.folder_of(clips)
    shutil.rmtree(folder)
    assert [a.kind for a in ancestry(store, release) if a.digest == clips] == [""]
    assert list(lineage_tags(store, release)) == ["student_checkpoint_digest"]
