"""Options are set beside the walk as it is, with another seed as the scale."""

import dataclasses

import pytest
from tiny import tiny_model
from tiny_release import write_tiny_release

from worldloom.bench.options import OptionsBenchConfig, measure_options
from worldloom.errors import ConfigError
from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import make_fast
from worldloom.rollout.release import load_release

SHORT = OptionsBenchConfig(num_walks=2, num_segments=3)


@pytest.fixture
def release(tmp_path):
    return load_release(write_tiny_release(tmp_path, tiny_model()))


@pytest.mark.slow
def test_every_option_is_beside_another_seed(release):
    report = measure_options(SHORT, release, "a command")
    [table] = report.tables
    first = {row[0]: float(row[1].split()[0]) for row in table.rows}
    last = {row[0]: float(row[2].split()[0]) for row in table.rows}
    assert list(first) == [
        "another seed, all on",
        "2 steps",
        "later steps repeat the say of 1 of 2 blocks",
        "keys and values of the last step",
    ]
    assert first["keys and values of the last step"] == 60  # nothing was kept yet: the same frames
    assert max(last.values()) < 60


def test_a_model_made_fast_before_is_refused(release):
    fast = dataclasses.replace(release, model=make_fast(release.model, RealtimeConfig()).model)
    with pytest.raises(ConfigError, match="transformer FastTransformer"):
        measure_options(SHORT, fast, "a command")
