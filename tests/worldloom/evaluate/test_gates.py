"""The gate: each bar refuses on its own, with a reason; a champion is beaten or matched."""

from __future__ import annotations

import re

import pytest
from records import GOOD_PARITY, clip_result

from worldloom.evaluate.gates import GateConfig, already_champion, judge
from worldloom.evaluate.interval import BootstrapConfig

NAMES = [f"clip-{index}" for index in range(8)]
NO_CHAMPION = None


def verdict(clips, champion=NO_CHAMPION, parity=GOOD_PARITY, **gate):
    return judge(clips, champion, parity, gate=GateConfig(**gate), bootstrap=BootstrapConfig())


def clips(**values):
    return [clip_result(name, **values) for name in NAMES]


def test_a_good_release_passes_and_says_why():
    found = verdict(clips())
    assert found.verdict == "pass"
    assert len(found.reasons) == len(found.bars) == 7
    assert all(bar.is_met for bar in found.bars)


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({"psnr_db": 12.9}, "beats_copy_last_frame", "PSNR in dB .* 12.90, expected above 13.00"),
        ({"psnr_db": 13.0}, "beats_copy_last_frame", "expected above 13.00"),
        ({"num_right_yaw_signs": 17}, "obeys_turns", "0.85, expected at least 0.90"),
        (
            {"num_right_yaw_signs_ground_truth": 17, "num_right_yaw_signs": 17},
            "yaw_is_measurable",
            "on the recordings themselves: 0.85, expected at least 0.90",
        ),
        ({"noise_divergence": 14.0}, "left_is_not_right", "40.00, expected above 42.00"),
        ({"left_right_divergence": 0.0, "noise_divergence": 0.0}, "left_is_not_right", "0.00"),
    ],
)
def test_each_fixed_bar_refuses_alone(values, name, words):
    found = verdict(clips(**values))
    assert found.verdict == "refuse"
    assert [bar.name for bar in found.bars if not bar.is_met] == [name]
    assert len(found.reasons) == 1
    assert re.search(words, found.reasons[0])


def test_one_broken_clip_is_named():
    found = verdict([*clips(), clip_result("torn", is_sound=False)])
    assert found.verdict == "refuse"
    assert found.reasons == ("frames of torn are flat or of a wrong shape",)


def test_clips_that_never_turn_judge_nobody():
    found = verdict(clips(num_turning_pairs=0))
    assert found.verdict == "refuse"
    assert any("no clip has a value" in reason for reason in found.reasons)


def test_a_release_without_parity_is_refused_unless_none_is_asked():
    assert verdict(clips(), parity=None).verdict == "refuse"
    relaxed = GateConfig.model_validate({"parity": {"is_required": False}})
    found = judge(clips(), None, None, gate=relaxed, bootstrap=BootstrapConfig())
    assert found.verdict == "pass"


def test_bad_parity_is_refused_with_and_without_a_champion():
    bad = GOOD_PARITY.model_copy(update={"latent_cosine": 0.5})
    for champion in (None, clips()):
        found = verdict(clips(), champion, bad)
        assert found.verdict == "refuse"
        assert "cosine" in found.reasons[0]


def test_an_equal_release_is_not_worse_than_the_champion():
    assert verdict(clips(), clips()).verdict == "pass"


@pytest.mark.parametrize(
    ("worse", "name"),
    [
        ({"psnr_db": 19.0}, "psnr_db"),
        ({"revisit_psnr_db": 17.0}, "revisit_psnr_db"),
        ({"num_right_yaw_signs": 15}, "yaw_sign_accuracy"),
        ({"perceptual_distance": 0.3}, "perceptual_distance"),
    ],
)
def test_a_release_that_is_surely_worse_is_refused(worse, name):
    found = verdict(clips(**worse), clips())
    assert found.verdict == "refuse"
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith(f"{name} differs from the champion's by")
    assert "surely worse" in found.reasons[0]


def test_a_better_release_passes_where_fixed_bars_would_not_matter():
    better = clips(psnr_db=22.0, perceptual_distance=0.1)
    assert verdict(better, clips()).verdict == "pass"


def test_a_difference_within_the_interval_passes():
    candidate = [
        clip_result(name, psnr_db=20 + (1 if index % 2 else -1.3))
        for index, name in enumerate(NAMES)
    ]
    assert verdict(candidate, clips()).verdict == "pass"


def test_within_the_margin_is_let_pass():
    candidate = clips(psnr_db=19.95)
    assert verdict(candidate, clips()).verdict == "pass"
    assert verdict(candidate, clips(), margins={}).verdict == "refuse"


def test_a_champion_on_other_clips_is_no_comparison():
    found = verdict(clips(), [clip_result("elsewhere")])
    assert found.verdict == "refuse"
    assert "no clip was evaluated with both" in found.reasons[0]


def test_the_champion_itself_passes_as_such():
    found = already_champion("sha256:1")
    assert found.verdict == "pass"
    assert found.reasons[0].startswith("already champion: sha256:1")


def test_nothing_evaluated_is_a_mistake():
    with pytest.raises(ValueError, match="no clips were evaluated"):
        verdict([])
