"""The bot turns where the picture stands still; run as its users run it, on the wheel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from fake_gateway import FRAMES_PER_SEGMENT, FakeGateway

from services import protocol

EXAMPLE = Path(__file__).parents[4] / "services" / "client" / "examples" / "walking_bot.py"
RUN = f"sys.argv[0] = 'walking_bot.py'\nrunpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
WALL_FROM = 2 * FRAMES_PER_SEGMENT


def before_a_wall(frame_index: int, action: list[float] | None) -> bytes:
    """Show a picture that changes up to the wall, and afterwards only while the bot turns."""
    is_still = frame_index > WALL_FROM and (action is None or action[7] == 0)
    level = WALL_FROM if is_still else frame_index
    picture = np.full((16, 16, 3), (10 * level) % 250, np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def test_the_bot_walks_and_turns_at_the_wall(run_client):
    with FakeGateway(picture=before_a_wall).serve_on_thread() as gateway:
        done = run_client(RUN, gateway.url, "--frames", str(6 * FRAMES_PER_SEGMENT))
    assert done.returncode == 0, done.stderr
    yaw = [row[1] for message in gateway.of_type(protocol.Actions) for row in message.mouse]
    by_segment = [rate > 0 for rate in yaw[::FRAMES_PER_SEGMENT]]
    assert by_segment[:3] == [False, False, False]
    assert any(by_segment[3:])
    assert done.stdout.startswith(f"{6 * FRAMES_PER_SEGMENT} frames, {sum(by_segment)} turns")
