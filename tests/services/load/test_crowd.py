from __future__ import annotations

import pytest
from fake_gateway import FakeGateway

from services import protocol
from services.load.crowd import CrowdConfig, crowd
from services.load.player import PlayerConfig
from worldloom.errors import ServingError

CONFIG = CrowdConfig(
    num_players=3,
    arrival_seconds=0.2,
    seed=10,
    player=PlayerConfig(seconds=0.5),
    num_slow=1,
    slow=PlayerConfig(seconds=0.5, pace=0.25),
)


@pytest.mark.slow
def test_everybody_plays_in_another_process_the_slow_ones_first() -> None:
    ticks = []
    with FakeGateway().serve_on_thread() as gateway, crowd(gateway.url, CONFIG) as players:
        played = players.wait(lambda: ticks.append(1), every_seconds=0.1)
    assert ticks
    assert [each.seed for each in played] == [10, 11, 12]
    assert [each.failure for each in played] == ["", "", ""]
    assert played[0].num_frames < min(played[1].num_frames, played[2].num_frames)
    assert {message.seed for message in gateway.of_type(protocol.Open)} == {10, 11, 12}


def test_players_that_die_are_an_error_and_no_endless_wait() -> None:
    with FakeGateway().serve_on_thread() as gateway, crowd(gateway.url, CONFIG) as players:
        players._process.kill()
        with pytest.raises(ServingError, match="players' process ended"):
            players.wait(lambda: None)
