"""Captions: the template says what is there; the OpenAI captioner speaks the API's shape."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest

from worldloom.data.captions import (
    CaptionConfig,
    OpenAICaptioner,
    TemplateCaptioner,
    make_captioner,
)
from worldloom.data.schema import Clip
from worldloom.errors import ConfigError, DataError, ServingError


@contextmanager
def _server(answer: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve `/v1/chat/completions` with one answer; yield its address and what was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append({"path": self.path, "key": self.headers["authorization"], "body": body})
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": answer},
            }
            reply = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
            }
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_template_names_colours_light_and_motion(clip: Clip) -> None:
    red = replace(clip, frames=np.full_like(clip.frames, (220, 10, 10)), trajectory="spin")
    caption = TemplateCaptioner().caption(red)
    assert "red" in caption
    assert "bright" in caption
    assert "turning around" in caption
    assert caption == TemplateCaptioner().caption(red)


def test_different_places_get_different_captions(clips: list[Clip]) -> None:
    assert len({TemplateCaptioner().caption(clip) for clip in clips}) > 2


@pytest.mark.slow
def test_frames_go_to_the_model_as_images_and_its_sentence_comes_back(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTION_KEY", "secret")
    with _server(" A green maze,\n softly lit. ") as (url, asked):
        config = CaptionConfig(
            kind="openai", base_url=url, model="tiny-vl", api_key_env="CAPTION_KEY", num_images=3
        )
        assert make_captioner(config).caption(clip) == "A green maze, softly lit."
    request = asked[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == "Bearer secret"
    assert request["body"]["model"] == "tiny-vl"
    text, *images = request["body"]["messages"][0]["content"]
    assert text["type"] == "text"
    assert len(images) == 3
    head, data = images[-1]["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    sent = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert sent.shape == (256, 256, 3)
    error = np.abs(sent[::4, ::4, ::-1].astype(float) - clip.frames[-1])
    assert error.mean() < 12


@pytest.mark.slow
def test_an_empty_answer_is_an_error_of_the_clip(clip: Clip) -> None:
    with (
        _server("  ") as (url, _),
        pytest.raises(DataError, match="the captioner gave no text"),
    ):
        OpenAICaptioner(url, "tiny-vl").caption(clip)


@pytest.mark.slow
def test_a_dead_captioner_is_named_by_its_address(clip: Clip) -> None:
    with _server("x") as (url, _):
        pass
    with pytest.raises(ServingError, match=url):
        OpenAICaptioner(url, "tiny-vl", timeout_seconds=2).caption(clip)


def test_the_openai_captioner_needs_a_server_and_a_model() -> None:
    with pytest.raises(ConfigError, match="expected both"):
        make_captioner(CaptionConfig(kind="openai", model="tiny-vl"))
