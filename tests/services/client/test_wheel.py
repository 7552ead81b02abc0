"""The wheel `worldloom-client`: the repository's files under one name, with nothing else of it."""

from __future__ import annotations

import json
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, frame_data

CLIENT = Path(__file__).parents[3] / "services" / "client"

PLAY = """
import asyncio, json
from worldloom_client import SessionOptions, connect, connect_sync


async def walk(url):
    async with connect(url, options=SessionOptions(seed=3)) as session:
        await session.act([[0] * 6] * 6, [[0, 1]] * 6)
        await session.finish()
        return [frame.data.decode() async for frame in session.frames()]


frames = asyncio.run(walk(sys.argv[1]))
with connect_sync(sys.argv[1]) as session:
    session.act([0] * 6, [0, 1])
    session.finish()
    again = [frame.data.decode() for frame in session.frames()]
roots = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([frames, again, roots]))
"""


@pytest.mark.slow
def test_a_session_is_played_from_another_folder_without_torch_or_the_repository(run_client):
    turn = [0.0] * 6 + [0.0, 1.0]
    with FakeGateway(drop_at={5}).serve_on_thread() as gateway:
        done = run_client(PLAY, gateway.url)
    assert done.returncode == 0, done.stderr
    frames, again, roots = json.loads(done.stdout)
    told = [frame_data(0, None).decode(), *(frame_data(k, turn).decode() for k in range(1, 7))]
    assert frames == told
    assert again == told[:2]
    assert "worldloom_client" in roots
    assert not {"torch", "worldloom", "services", "cv2", "tritonclient"} & set(roots)


def test_the_guard_of_these_tests_bites(run_client):
    done = run_client("import services.contract")
    assert "the client reached for services" in done.stderr


@pytest.mark.slow
def test_the_other_doors_open_with_their_extras(run_client):
    code = (
        "from worldloom_client.grpc import open_session, SessionOptions\n"
        "from worldloom_client.images import decode_jpeg\n"
        "from worldloom_client import protocol, contract, session_state\n"
    )
    done = run_client(code)
    assert done.returncode == 0, done.stderr


def test_every_module_is_in_the_wheel_and_it_says_that_it_is_typed(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    for path in [*CLIENT.glob("*.py"), *CLIENT.glob("grpc/*.py")]:
        assert f"worldloom_client/client/{path.relative_to(CLIENT)}" in packed, path
    assert "worldloom_client/py.typed" in packed


def test_installing_it_brings_no_torch(wheel):
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith("METADATA")]
    wanted = message_from_string(archive.read(name).decode()).get_all("Requires-Dist")
    needed = {want for want in wanted if "extra ==" not in want}
    assert {want.partition(">")[0].partition("<")[0] for want in needed} == {
        "numpy",
        "pydantic",
        "websockets",
    }
