"""The viewer in a real browser: what is pressed moves the picture, whatever happens on the way.

The gateway is the real one; behind it stands its fake engine, whose picture slides to the left for
D and to the right for A. Between browser and gateway is a wire that can be cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from services import contract
from services.gateway.app import create_app
from services.gateway.backends import BackendConfig
from services.gateway.fake_engine import FakeEngine, FakeStream
from services.gateway.fake_session import FakeEngineConfig
from services.gateway.link import NO_TENSORS, Received, Tensors
from services.gateway.parts import Parts, build_parts
from services.gateway.server import GatewayServer
from services.gateway.settings import GatewayConfig, KeyConfig
from services.inference.h264 import encode_h264
from worldloom.actions import read_actions

ACCESS = Path(__file__).with_name("viewer_access.js").read_text()
WIDTH = 320
STEP = WIDTH / 64  # pixels that the pattern slides in a frame
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
# Tells, for each frame shown from now on, its number and where the bright bar of the pattern is.
WATCH = """() => {
  const screen = document.getElementById("screen");
  const row = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  window.seen = [];
  const look = () => {
    const { width, height } = screen;
    row.canvas.width = width;
    row.canvas.height = 1;
    row.drawImage(screen, 0, height >> 1, width, 1, 0, 0, width, 1);
    const { data } = row.getImageData(0, 0, width, 1);
    const bright = [...Array(width).keys()].filter((x) => data[4 * x] + data[4 * x + 1] > 400);
    // The bar may stand on both edges at once: its middle is that of a circle.
    const turn = bright.map((x) => (2 * Math.PI * x) / width);
    const sum = (wave) => turn.reduce((total, angle) => total + wave(angle), 0);
    const angle = Math.atan2(sum(Math.sin), sum(Math.cos));
    window.seen.push([Number(screen.dataset.frame), (angle / (2 * Math.PI)) * width]);
  };
  new MutationObserver(look).observe(screen, { attributeFilter: ["data-frame"] });
}"""


class Wire:
    """A TCP connection that can be cut: what a train in a tunnel does to a browser."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._is_down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_down = True
        for end in self._open:
            with contextlib.suppress(OSError):  # its pump may close it at this moment
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        self._is_down = False

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self._is_down:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with source, sink:
            try:
                while data := source.recv(1 << 16):
                    sink.sendall(data)
            except OSError:
                return


class VideoEngine(FakeEngine):
    """The fake engine, with its frames in H.264 where that is asked for."""

    async def describe(
        self, timeout_seconds: float, *, with_images: bool = False
    ) -> contract.Description:
        told = await super().describe(timeout_seconds, with_images=with_images)
        return told.model_copy(update={"encodings": ("jpeg", "h264")})

    async def open(
        self,
        message: contract.SessionStart | contract.SessionResume,
        tensors: Tensors = NO_TENSORS,
    ) -> FakeStream:
        stream = await super().open(message, tensors)
        if message.encoding == "h264":
            receive = stream.receive

            async def receive_video() -> Received:
                received = await receive()
                if not isinstance(received.event, contract.FramesEvent):
                    return received
                return Received(
                    received.event,
                    received.answers,
                    to_video(received.frames),
                    received.frame_index,
                    received.action_index,
                )

            stream.receive = receive_video  # type: ignore[method-assign]
        return stream


def to_video(jpegs: Any) -> tuple[bytes, ...]:
    pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
    return encode_h264(np.stack(pictures)[..., ::-1], crf=20, preset="ultrafast")


@dataclass
class Served:
    """A gateway in a thread, its engine, and the wire that a browser reaches it by."""

    engine: FakeEngine
    wire: Wire
    server: GatewayServer
    url: str


@contextmanager
def serving(engine: FakeEngine | None = None, **settings: Any) -> Iterator[Served]:
    engine = engine or FakeEngine(FakeEngineConfig(frames_per_second=16))
    backends = (BackendConfig(address="fake:0", model_version="7"),)
    config = GatewayConfig(port=0, **{"auth": "none", "backends": backends, **settings})

    def build() -> Parts:
        return build_parts(config, "x" * 40, lambda _address: engine)

    server = GatewayServer(create_app(build, is_fake=True), config)
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    wire = Wire(server.port)
    try:
        yield Served(engine, wire, server, f"http://127.0.0.1:{wire.port}/")
    finally:
        wire.cut()
        wire.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed, so the page is not opened")
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Visit:
    """A page, and what it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open pages; in the end none of them may have complained in its console."""
    with ExitStack() as stack:
        visits: list[Visit] = []

        def open_page(url: str, *, has_worlds: bool = True, **options: Any) -> Visit:
            context = stack.enter_context(browser.new_context(**{**DESKTOP, **options}))
            made = Visit(context.new_page())
            made.page.set_default_timeout(15_000)
            made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
            made.page.on(
                "console",
                lambda said: (
                    said.type in {"error", "warning"} and made.complaints.append(said.text)
                ),
            )
            visits.append(made)
            made.page.goto(url)
            made.page.wait_for_selector(".world" if has_worlds else "#banner:not([hidden])")
            return made

        yield open_page
        assert [made.complaints for made in visits] == [[] for _ in visits]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as made:
        yield made


def state(page: Page, name: str) -> None:
    page.wait_for_selector(f"body[data-state={name}]")


def begin(page: Page) -> None:
    page.click("#begin")
    state(page, "active")


def cut_and_mend(made: Visit, served: Served) -> None:
    served.wire.cut()
    expect(made.page.locator("#veil-title")).to_have_text("Reconnecting")
    served.wire.mend()
    state(made.page, "active")
    expect(made.page.locator("#veil")).to_be_hidden()
    # That connections failed while the wire was cut is what a browser says, and rightly.
    assert all("WebSocket" in complaint for complaint in made.complaints)
    made.complaints.clear()


def figure(page: Page, name: str) -> Locator:
    return page.locator("#figures div", has=page.get_by_text(name, exact=True)).locator("dd")


def seen_until(page: Page, count: int) -> list[tuple[int, float]]:
    """Return number and place of the bar of each frame shown, once there are so many."""
    for _ in range(300):
        seen = page.evaluate("window.seen")
        if len(seen) >= count:
            return [(int(frame), float(x)) for frame, x in seen]
        page.wait_for_timeout(50)
    pytest.fail(f"{len(seen)} frames were shown, expected {count}")


def slides(seen: list[tuple[int, float]]) -> list[float]:
    """Return by how many pixels a frame the picture slid, from one shown frame to the next."""
    half = WIDTH / 2
    return [
        ((x - before_x + half) % WIDTH - half) / (frame - before)
        for (before, before_x), (frame, x) in pairwise(seen)
    ]


def once_moving(seen: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return what was shown since the first frame that moved."""
    first = next(index for index, move in enumerate(slides(seen)) if abs(move) > 0.2)
    return seen[first + 1 :]


@pytest.mark.parametrize(("key", "slide"), [("d", -STEP), ("a", STEP), ("ArrowRight", -STEP)])
def test_a_key_moves_the_picture_its_way(served, visit, key, slide) -> None:
    page = visit(served.url).page
    begin(page)
    page.evaluate(WATCH)
    page.keyboard.down(key)
    moves = slides(once_moving(seen_until(page, 30)))
    page.keyboard.up(key)
    assert len(moves) > 10
    assert moves == pytest.approx([slide] * len(moves), abs=1.5)
    expect(figure(page, "Picture")).to_have_text("JPEG")
    expect(figure(page, "Model")).to_have_text("7")
    # A frame that is late is dropped, and on a busy machine some are; most were shown.
    assert int(figure(page, "Dropped").inner_text()) < len(moves)
    assert int(figure(page, "Action to frame").inner_text().split()[0]) < 3000


def test_a_drag_looks_the_way_the_hand_goes(served, visit) -> None:
    page = visit(served.url).page
    begin(page)
    page.evaluate(WATCH)
    page.mouse.move(600, 300)
    page.mouse.down()
    page.mouse.move(700, 300, steps=5)
    page.mouse.up()
    moves = slides(seen_until(page, 20))
    assert min(moves) == pytest.approx(-STEP, abs=1.5)
    assert max(moves) < 1.5


def test_video_is_decoded_by_the_browser_and_moves_as_told(visit) -> None:
    engine = VideoEngine(FakeEngineConfig(frames_per_second=16))
    with serving(engine) as served:
        made = visit(served.url)
        page = made.page
        codec = "{codec: 'avc1.42E01F'}"
        can = page.evaluate(
            f"async () => (await VideoDecoder.isConfigSupported({codec})).supported"
        )
        if not can:
            pytest.skip("this Chromium decodes no H.264")
        begin(page)
        page.evaluate(WATCH)
        page.keyboard.down("d")
        seen = seen_until(page, 40)
        expect(figure(page, "Picture")).to_have_text("H.264 (avc1.42c00c)")
        cut_and_mend(made, served)
        moves = slides(once_moving(seen_until(page, len(seen) + 40)))
        assert len(moves) > 60
        assert moves == pytest.approx([-STEP] * len(moves), abs=2.5)


def test_a_walk_goes_on_at_the_next_frame_when_the_wire_is_cut(served, visit) -> None:
    made = visit(served.url)
    page = made.page
    begin(page)
    page.evaluate(WATCH)
    page.keyboard.down("d")
    before = seen_until(page, 30)
    cut_and_mend(made, served)
    seen = once_moving(seen_until(page, len(before) + 40))
    moves = slides(seen)
    assert moves == pytest.approx([-STEP] * len(moves), abs=1.5)
    numbers = [frame for frame, _ in seen]
    assert numbers == sorted(set(numbers)), "none again, none out of order"
    skipped = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert skipped <= int(figure(page, "Dropped").inner_text()), "none lost but what is told"


def test_a_pause_stands_still_at_once_and_goes_on_where_it_stood(served, visit) -> None:
    page = visit(served.url).page
    begin(page)
    page.evaluate(WATCH)
    page.keyboard.down("d")
    seen_until(page, 20)
    page.keyboard.press("p")
    state(page, "paused")
    expect(page.locator("#veil-title")).to_have_text("Paused")
    stood = page.evaluate("window.seen.length")
    page.wait_for_timeout(400)
    assert page.evaluate("window.seen.length") == stood
    page.get_by_role("button", name="Go on").first.click()
    state(page, "active")
    moves = slides(once_moving(seen_until(page, stood + 20)))
    assert moves == pytest.approx([-STEP] * len(moves), abs=1.5)


def test_the_queue_is_shown_and_its_turn_comes(visit) -> None:
    engine = FakeEngine(FakeEngineConfig(frames_per_second=16, num_slots=1))
    with serving(engine) as served:
        first, second = visit(served.url).page, visit(served.url).page
        begin(first)
        second.click("#begin")
        state(second, "queued")
        expect(second.locator("#veil-title")).to_have_text("You are next")
        expect(figure(second, "Queue")).to_have_text("1 of 1")
        first.click("#leave")
        state(second, "active")
        expect(second.locator("#veil")).to_be_hidden()


def test_a_link_leads_to_the_same_world_and_seed(served, visit) -> None:
    page = visit(f"{served.url}#world=night&seed=4711").page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(page.get_by_label("night")).to_be_checked()
    expect(page.locator("#seed")).to_have_value("4711")
    begin(page)
    expect(page.locator("#walk-title")).to_contain_text("seed 4711")
    page.get_by_role("button", name="Share").click()
    expect(page.locator("#toast")).to_contain_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{served.url}#world=night&seed=4711"


def test_a_link_to_a_world_that_is_gone_says_so(served, visit) -> None:
    page = visit(f"{served.url}#world=atlantis&seed=1").page
    expect(page.get_by_role("alert").first).to_contain_text('"atlantis"')
    expect(page.get_by_label("pattern")).to_be_checked()


def test_a_page_that_came_before_the_model_waits_for_it(visit) -> None:
    engine = FakeEngine(FakeEngineConfig(frames_per_second=16))
    engine.die()
    with serving(engine) as served:
        page = visit(served.url, has_worlds=False).page
        expect(page.locator("#banner")).to_contain_text("No model is running")
        expect(page.locator("#begin")).to_be_disabled()
        assert page.evaluate(ACCESS) == []
        engine.revive()
        expect(page.get_by_label("pattern")).to_be_checked()
        expect(page.locator("#banner")).to_be_hidden()
        begin(page)


def test_everything_can_be_done_by_keyboard(served, visit) -> None:
    page = visit(served.url).page
    focused = "document.activeElement.id || document.activeElement.value"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "pattern"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "night"
    stops = []
    for _ in range(5):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(focused))
    assert [stop for stop in stops if stop][-4:] == ["prompt", "seed", "new-seed", "begin"]
    page.keyboard.press("Enter")
    state(page, "active")
    assert page.evaluate(focused) == "stage"
    page.keyboard.press("p")
    state(page, "paused")
    assert page.evaluate("document.activeElement.textContent") == "Go on"
    page.keyboard.press("Enter")
    state(page, "active")
    assert page.evaluate(focused) == "stage"
    tools = []
    for _ in range(6):
        page.keyboard.press("Tab")
        tools.append(page.evaluate(focused))
    assert tools[:5] == ["pause", "record", "save-actions", "share", "crisp"]
    for _ in range(10):
        page.keyboard.press("Shift+Tab")
        if page.evaluate(focused) == "leave":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#choose")).to_be_visible()
    assert page.evaluate(focused) == "night"


def test_a_click_gives_the_mouse_to_the_view_and_escape_takes_it_back(served, visit) -> None:
    page = visit(served.url).page
    begin(page)
    page.locator("#stage").click()
    locked = "document.pointerLockElement?.id ?? null"
    for _ in range(40):
        if page.evaluate(locked) == "stage":
            break
        page.wait_for_timeout(50)
    assert page.evaluate(locked) == "stage"
    page.evaluate("document.exitPointerLock()")  # a headless browser's Escape goes to the page
    page.get_by_role("button", name="Pause").click()
    state(page, "paused")


def test_a_thumb_on_the_stick_walks_on_a_phone(served, visit) -> None:
    page = visit(served.url, **PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap("#begin")
    state(page, "active")
    page.evaluate(WATCH)
    box = page.locator("#stick").bounding_box()
    assert box is not None
    touch = page.context.new_cdp_session(page)
    middle = box["y"] + box["height"] / 2
    at = {"x": box["x"] + box["width"] * 0.95, "y": middle}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    moves = slides(seen_until(page, 30))
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert moves[-1] == pytest.approx(-STEP, abs=1.5)
    assert page.evaluate(ACCESS) == []


def test_a_film_and_the_actions_are_kept(served, visit, tmp_path: Path) -> None:
    page = visit(f"{served.url}#world=pattern&seed=5").page
    begin(page)
    page.evaluate(WATCH)
    page.get_by_role("button", name="Record").click()
    page.keyboard.down("w")
    seen_until(page, 40)
    with page.expect_download() as film:
        page.get_by_role("button", name="Stop").click()
    with page.expect_download() as walk:
        page.get_by_role("button", name="Save walk").click()
    assert film.value.suggested_filename.startswith("worldloom-pattern-5.")
    path = tmp_path / film.value.suggested_filename
    film.value.save_as(path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) > 20
    assert frames[0].shape == (540, 960, 3)
    assert walk.value.suggested_filename == "worldloom-pattern-5.json"
    actions = read_actions(Path(walk.value.path()))
    assert len(actions) % 12 == 0
    assert actions.keyboard[-1].tolist() == [1, 0, 0, 0, 0, 0]


def test_a_picture_of_ones_own_is_walked_in(served, visit, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    cv2.imwrite(str(path), np.full((900, 1600, 3), (40, 200, 90), np.uint8))
    page = visit(served.url).page
    page.set_input_files('input[type="file"]', path)
    expect(page.locator(".world.own .about")).to_have_text("mine.png")
    begin(page)
    expect(page.locator("#walk-title")).to_contain_text("Your picture")
    pixel = page.evaluate(
        "[...document.getElementById('screen').getContext('2d').getImageData(160, 90, 1, 1).data]"
    )
    assert pixel[:3] == pytest.approx([90, 200, 40], abs=6)


def test_what_is_no_picture_is_refused_in_words(served, visit, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    path.write_bytes(b"not a picture")
    page = visit(served.url).page
    page.set_input_files('input[type="file"]', path)
    expect(page.get_by_role("alert").first).to_contain_text("Not a picture")


def test_a_server_with_keys_asks_for_one_until_it_is_right(visit) -> None:
    key = KeyConfig(key_id="friend", sha256=hashlib.sha256(b"right").hexdigest())
    with serving(auth="keys", keys=(key,)) as served:
        made = visit(served.url)
        page = made.page
        page.click("#begin")
        page.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#ask-key-words")).to_contain_text("not right")
        assert page.evaluate(ACCESS) == []
        page.get_by_label("API key").fill("right")
        page.keyboard.press("Enter")
        state(page, "active")
        assert all("401" in complaint for complaint in made.complaints)
        made.complaints.clear()


def test_an_ending_is_told_in_words_with_its_code_and_a_way_on(served, visit) -> None:
    page = visit(served.url).page
    begin(page)
    [session_id] = served.engine._sessions
    served.engine.fail_session(session_id)
    state(page, "ended")
    expect(page.locator("#veil-title")).to_have_text("The model stumbled")
    assert page.evaluate(ACCESS) == []
    page.get_by_role("button", name="Walk again").click()
    state(page, "active")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nobody_stumbles(served, visit, scheme, size) -> None:
    """Names of controls, contrast of texts, nothing wider than the screen, in three states."""
    page = visit(served.url, **size, color_scheme=scheme, reduced_motion="reduce").page
    assert page.evaluate(ACCESS) == []
    begin(page)
    expect(figure(page, "Frames a second")).not_to_have_text("0")
    assert page.evaluate(ACCESS) == []
    assert page.locator("#screen").bounding_box() == page.locator("#stage").bounding_box()
    page.click("#pause")
    state(page, "paused")
    assert page.evaluate(ACCESS) == []


def test_the_page_keeps_to_its_own_origin(served, visit) -> None:
    asked: list[str] = []
    made = visit(served.url)
    page = made.page
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.wait_for_selector(".world img")
    begin(page)
    assert asked
    assert all(url.startswith((served.url, "data:image/")) for url in asked), asked
    policy = page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
    assert policy is not None
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    violated = page.evaluate(
        """() => new Promise((resolve) => {
          addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          document.body.append(Object.assign(document.createElement("img"),
            { src: "https://example.invalid/x.png" }));
        })"""
    )
    assert violated == "img-src", "the policy is in force"
    assert all("violates the following Content Security" in said for said in made.complaints)
    made.complaints.clear()
