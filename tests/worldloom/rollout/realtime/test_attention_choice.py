"""The faster attention wins, and the choice says both rates."""

from worldloom.rollout.realtime.attention_choice import AttentionChoice


def test_the_faster_one_wins_and_both_rates_are_told():
    faster, slower = AttentionChoice(full=600.0, fp8=735.0), AttentionChoice(full=600.0, fp8=500.0)
    assert faster.wins
    assert not slower.wins
    rates = "(measured: FP8 735, full precision 600 TFLOP/s)"
    assert faster.sentence(is_fp8=True) == f"FP8 {rates}"
    assert faster.sentence(is_fp8=False) == f"full precision {rates}"  # another process lost
