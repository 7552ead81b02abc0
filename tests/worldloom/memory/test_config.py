import pytest

from worldloom.config import parse_config
from worldloom.errors import ConfigError
from worldloom.memory.config import BankConfig, RetrievalConfig


def test_points_are_layers_by_rows_by_columns():
    assert RetrievalConfig(depths=2, rows=3, cols=5).num_points == 30


def test_a_frustum_without_depth_is_refused():
    with pytest.raises(ConfigError, match=r"far_metres=0.3: expected more than 0.3"):
        parse_config(RetrievalConfig, {"near_metres": 0.3, "far_metres": 0.3})


def test_a_bank_without_room_for_a_keyframe_is_refused():
    with pytest.raises(ConfigError, match="capacity=9: expected at least 10"):
        parse_config(BankConfig, {"capacity": 9, "recent_latents": 8})
    assert parse_config(BankConfig, {"capacity": 10, "recent_latents": 8}).capacity == 10
