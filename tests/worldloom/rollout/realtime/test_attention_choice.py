"""The faster attention wins, and the choice says both rates."""

from worldloom.rollout.realtime.attention_choice import AttentionChoice


def test_the_faster_one_wins_and_both_rates_are_told():
    assert AttentionChoice(full=600.0, fp8=735.0).wins
    assert AttentionChoice(full=600.0, fp8=735.0).sentence == (
        "FP8 (measured: FP8 735, full precision 600 TFLOP/s)"
    )
    assert not AttentionChoice(full=600.0, fp8=500.0).wins
    assert AttentionChoice(full=600.0, fp8=500.0).sentence.startswith("full precision (measured")
