"""Who may become champion, what is refused, and what a killed promoter leaves to the next."""

from __future__ import annotations

import re
import threading

import pytest

from services.registry import current_champion
from services.registry.audit import AuditLog
from services.registry.promotion import Guard, Outcome
from worldloom.errors import PromotionError, WorldloomError


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it, though `finally` runs."""


def promote(guard, workshop, content, champion="") -> Outcome:
    release = workshop.release(content)
    return guard.promote(release, workshop.report(release, champion))


def test_the_first_release_that_passes_becomes_champion(guard, workshop, store, models) -> None:
    release = workshop.release("one")
    outcome = guard.promote(release, workshop.report(release), commit="abc")
    assert (outcome.decision, outcome.version, outcome.release) == ("promoted", "1", release)
    assert models.aliases == {"champion": "1"}
    champion = current_champion(store)
    assert champion is not None
    assert (champion.version, champion.release) == ("1", release)
    assert guard.checked_champion() == champion
    tags = models.made[0].tags
    assert tags["release_digest"] == release
    assert tags["git_sha"] == "abc"
    parents = store.manifest(release).parents
    assert tags["clips_digest"] == parents["clips"]
    assert tags["student_checkpoint_digest"] == parents["student"]


def test_a_refused_release_moves_nothing_and_says_why(guard, workshop, store, models) -> None:
    first = promote(guard, workshop, "one")
    worse = workshop.release("worse")
    outcome = guard.promote(worse, workshop.report(worse, first.release, "refuse"))
    assert outcome.decision == "refused"
    assert outcome.reasons == ("a bar was refuse",)
    assert (outcome.version, outcome.release) == ("1", first.release)
    assert len(models.made) == 1
    assert models.aliases == {"champion": "1"}


def test_the_same_release_again_is_a_success_that_changes_nothing(
    guard, workshop, store, models
) -> None:
    promote(guard, workshop, "one")
    before = len(AuditLog(store, "worldloom").entries())
    assert promote(guard, workshop, "one").decision == "already-champion"
    assert len(AuditLog(store, "worldloom").entries()) == before
    assert len(models.made) == 1


def test_a_report_about_another_release_is_refused(guard, workshop, models) -> None:
    one, two = workshop.release("one"), workshop.release("two")
    with pytest.raises(PromotionError, match=f"judges release {one}, expected .* {two}"):
        guard.promote(two, workshop.report(one))
    assert models.made == []


def test_a_release_compared_with_a_former_champion_is_refused(guard, workshop, models) -> None:
    first = promote(guard, workshop, "one")
    promote(guard, workshop, "two", first.release)
    late = workshop.release("late")
    with pytest.raises(PromotionError, match="evaluate it again"):
        guard.promote(late, workshop.report(late, first.release))
    with pytest.raises(PromotionError, match="compared with no champion"):
        guard.promote(late, workshop.report(late))
    assert models.aliases == {"champion": "2"}
    assert len(models.made) == 2


def test_a_damaged_release_never_becomes_champion(guard, workshop, models) -> None:
    release = workshop.release("one")
    report = workshop.report(release)
    workshop.damage(release)
    with pytest.raises(PromotionError, match=r"may not become champion: .* damaged"):
        guard.promote(release, report)
    assert models.made == []


@pytest.mark.slow
def test_of_many_promoters_at_once_exactly_one_wins(guard, workshop, store, models) -> None:
    first = promote(guard, workshop, "one")
    releases = [workshop.release(f"rival {n}") for n in range(4)]
    reports = [workshop.report(release, first.release) for release in releases]
    results: list[Outcome | WorldloomError] = []
    barrier = threading.Barrier(4)

    def compete(n: int) -> None:
        own = Guard(store=store, models=models, actor=f"rival {n}", lease_seconds=20.0)
        barrier.wait()
        try:
            results.append(own.promote(releases[n], reports[n]))
        except WorldloomError as error:
            results.append(error)

    threads = [threading.Thread(target=compete, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [result for result in results if isinstance(result, Outcome)]
    lost = [result for result in results if isinstance(result, PromotionError)]
    assert (len(won), len(lost)) == (1, 3)
    assert all("evaluate it again" in str(error) for error in lost)
    champion = guard.checked_champion()
    assert champion is not None
    assert champion.release == won[0].release
    assert [entry.phase for entry in AuditLog(store, "worldloom").entries()] == [
        "begun",
        "done",
    ] * 2


@pytest.mark.parametrize("place", ["versions", "begun", "tag", "alias", "done"])
def test_a_killed_promotion_is_finished_by_running_it_again(
    place, guard, workshop, store, models, monkeypatch
) -> None:
    first = promote(guard, workshop, "one")
    release = workshop.release("two")
    report = workshop.report(release, first.release)
    targets = {
        "versions": (models, "create_version", False),
        "begun": (AuditLog, "append", False),
        "tag": (models, "set_tag", False),
        "alias": (models, "set_alias", False),
        "done": (models, "set_alias", True),
    }
    owner, name, after = targets[place]
    original = getattr(owner, name)

    def die(*args, **kwargs):
        if after:
            original(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Killed):
            guard.promote(release, report)
    assert guard.promote(release, report).decision in {"promoted", "already-champion"}
    champion = guard.checked_champion()
    assert champion is not None
    assert (champion.version, champion.release) == ("2", release)
    assert len(models.made) == 2


def test_an_alias_moved_from_outside_stops_promotion_until_somebody_decides(
    guard, workshop, models
) -> None:
    first = promote(guard, workshop, "one")
    second = promote(guard, workshop, "two", first.release)
    models.aliases["champion"] = "1"
    with pytest.raises(PromotionError, match=r"moved it from outside.*adopt.*restore"):
        promote(guard, workshop, "three", second.release)
    with pytest.raises(PromotionError, match="version 1, but the audit log says 2"):
        guard.checked_champion()
    restored = guard.restore()
    assert restored is not None
    assert restored.release == second.release
    assert models.aliases == {"champion": "2"}
    models.aliases["champion"] = "1"
    adopted = guard.adopt(reason="the second one blurs")
    assert adopted is not None
    assert adopted.release == first.release
    assert promote(guard, workshop, "three", first.release).decision == "promoted"


def test_a_foreign_version_cannot_be_adopted(guard, workshop, models) -> None:
    promote(guard, workshop, "one")
    models.create_version("s3://elsewhere/model", {})
    models.aliases["champion"] = "2"
    with pytest.raises(PromotionError, match="expected a release in the store"):
        guard.adopt()


def test_adoption_and_restoration_change_nothing_where_all_agree(guard, workshop, store) -> None:
    assert guard.adopt() is None
    promote(guard, workshop, "one")
    champion = current_champion(store)
    assert guard.adopt() == champion
    assert guard.restore() == champion


def test_rollback_goes_back_step_by_step_and_no_further(guard, workshop, store, models) -> None:
    first = promote(guard, workshop, "one")
    second = promote(guard, workshop, "two", first.release)
    promote(guard, workshop, "three", second.release)
    assert guard.rollback().release == second.release
    assert guard.rollback(reason="also bad").release == first.release
    assert models.aliases == {"champion": "1"}
    with pytest.raises(PromotionError, match="no version to go back to from version 1"):
        guard.rollback()
    assert guard.rollback("3").version == "3"
    with pytest.raises(PromotionError, match="version 9 was never champion"):
        guard.rollback("9")


def test_rollback_refuses_a_damaged_predecessor(guard, workshop, models) -> None:
    first = promote(guard, workshop, "one")
    promote(guard, workshop, "two", first.release)
    workshop.damage(first.release)
    with pytest.raises(PromotionError, match="damaged"):
        guard.rollback()
    assert models.aliases == {"champion": "2"}


def test_what_was_rolled_back_needs_a_new_report(guard, workshop, models) -> None:
    first = promote(guard, workshop, "one")
    second = workshop.release("two")
    report = workshop.report(second, first.release)
    guard.promote(second, report)
    guard.rollback()
    outcome = guard.promote(second, report)
    assert outcome.decision == "refused"
    assert "was rolled back" in outcome.reasons[0]
    assert outcome.release == first.release
    assert models.aliases == {"champion": "1"}


def test_a_log_whose_end_was_cut_off_is_noticed(guard, workshop, store, models) -> None:
    first = promote(guard, workshop, "one")
    promote(guard, workshop, "two", first.release)
    for index in (3, 4):
        (store.root / f"records/audit/worldloom/{index:08d}.json").unlink()
    models.aliases["champion"] = "1"
    with pytest.raises(PromotionError, match="so it was cut"):
        guard.checked_champion()


def test_a_promoter_whose_lease_ran_out_does_not_touch_the_alias(
    guard, workshop, models, monkeypatch
) -> None:
    clock = {"now": 1000.0}
    guard.now = lambda: clock["now"]
    original = models.create_version

    def slow(source, tags):
        clock["now"] += 60.0
        return original(source, tags)

    monkeypatch.setattr(models, "create_version", slow)
    with pytest.raises(PromotionError, match="expired"):
        promote(guard, workshop, "one")
    assert models.aliases == {}


def test_a_report_without_a_verdict_is_refused(guard, workshop) -> None:
    release = workshop.release("one")
    report = workshop.artifact("evaluation-report", "{}", {"release": release}, "report.json")
    with pytest.raises(PromotionError, match=re.escape("holds no verdict")):
        guard.promote(release, report)
