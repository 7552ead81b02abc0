"""Prompts: a sentence on what a clip shows, from a template or from a vision-language model.

`TemplateCaptioner` needs nothing but the clip: its dominant colours, its light, its motion.
`OpenAICaptioner` sends sampled frames to any server with the OpenAI API's shape (vLLM among them);
what such a model says is not reproducible, so a clips artifact made with it is not either. It does
not know where clips come from or go.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

import cv2
import numpy as np
from pydantic import Field

from worldloom.config import Config
from worldloom.data.clips import encode_frame
from worldloom.data.schema import Clip
from worldloom.errors import ConfigError, DataError, ServingError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionContentPartParam

INSTRUCTION = (
    "These are frames of one first-person walk. Describe the place in one plain sentence of at"
    " most 25 words: materials, colours, light. Do not mention frames or images."
)
_PLACES: Mapping[str, str] = {
    "procedural": "a maze of patterned walls",
    "vizdoom": "a base of metal and stone halls",
    "video": "a real place",
}
_HUES = ((8, "red"), (20, "brown"), (33, "yellow"), (80, "green"), (98, "teal"), (130, "blue"))
_MOTIONS: Mapping[str, str] = {
    "palindrome": "walking there and back",
    "loop": "walking in a square",
    "spin": "turning around on the spot",
    "free": "walking about",
}
_LAST_HUES = ((155, "purple"), (172, "pink"), (180, "red"))


class CaptionConfig(Config):
    """Where prompts come from."""

    kind: Literal["template", "openai"] = Field("template", description="which captioner")
    base_url: str = Field("", description="OpenAI-shaped server, up to and with /v1")
    model: str = Field("", description="model name that the server knows")
    api_key_env: str = Field(
        "WORLDLOOM_CAPTION_API_KEY",
        description="environment variable with the key; unset: the server wants none",
    )
    num_images: int = Field(4, ge=1, description="frames sent for a clip")
    image_pixels: int = Field(256, ge=16, description="height and width of a sent frame, at least")
    timeout_seconds: float = Field(60.0, gt=0, description="longest wait for an answer")
    max_tokens: int = Field(80, ge=1, description="longest answer")


class Captioner(Protocol):
    """Anything that can say what a clip shows."""

    def caption(self, clip: Clip) -> str:
        """Return one sentence."""
        ...


class TemplateCaptioner:
    """Says what can be measured: colours, light and motion."""

    def caption(self, clip: Clip) -> str:
        """Return one sentence; the same clip gives the same one."""
        hsv = cv2.cvtColor(np.concatenate(list(clip.frames[::8])), cv2.COLOR_RGB2HSV)
        value = float(hsv[..., 2].mean())
        light = "dark" if value < 60 else "dim" if value < 100 else "bright"
        colours = " and ".join(_dominant_colours(hsv.reshape(-1, 3)))
        motion = _MOTIONS.get(clip.trajectory, "moving about")
        return f"{_PLACES[clip.source]}, mostly {colours}, {light}, seen by someone {motion}"


def captioned(clip: Clip, captioner: Captioner | None = None) -> Clip:
    """Return a clip with the prompt that a captioner gives it; by default what can be measured.

    A source's own prompt is plain. What learns, is judged or is walked in has to be told in the
    words that training used.
    """
    return replace(clip, prompt=(captioner or TemplateCaptioner()).caption(clip))


class OpenAICaptioner:
    """Asks a vision-language model behind the OpenAI API.

    Args:
        base_url: The server, up to and with `/v1`.
        model: The model's name there.
        api_key: Sent as the bearer token; servers that want none ignore it.
        num_images: Frames sent for a clip.
        image_pixels: They are enlarged to at least this height and width.
        timeout_seconds: Longest wait for an answer.
        max_tokens: Longest answer.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "none",
        num_images: int = 4,
        image_pixels: int = 256,
        timeout_seconds: float = 60.0,
        max_tokens: int = 80,
    ) -> None:
        """Connect to nothing yet."""
        from openai import OpenAI

        self._client = OpenAI(
            base_url=base_url, api_key=api_key, timeout=timeout_seconds, max_retries=2
        )
        self._base_url = base_url
        self._model = model
        self._num_images = num_images
        self._image_pixels = image_pixels
        self._max_tokens = max_tokens

    def caption(self, clip: Clip) -> str:
        """Return the model's sentence.

        Raises:
            ServingError: when the server does not answer.
            DataError: when the answer is empty.
        """
        from openai import OpenAIError

        try:
            answer = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": self._content(clip)}],
                max_tokens=self._max_tokens,
                temperature=0.0,
                seed=0,
            )
        except OpenAIError as error:
            message = f"captioner {self._base_url}, model {self._model!r}: {error}"
            raise ServingError(message) from error
        text = answer.choices[0].message.content if answer.choices else None
        sentence = " ".join((text or "").split())
        if not sentence:
            message = f"clip {clip.clip_id!r}: the captioner gave no text, expected a sentence"
            raise DataError(message)
        return sentence

    def _content(self, clip: Clip) -> list[ChatCompletionContentPartParam]:
        content: list[ChatCompletionContentPartParam] = [{"type": "text", "text": INSTRUCTION}]
        scale = -(-self._image_pixels // min(clip.frames.shape[1:3]))
        for index in np.linspace(0, clip.num_frames - 1, self._num_images).round().astype(int):
            frame = clip.frames[index].repeat(scale, axis=0).repeat(scale, axis=1)
            data = base64.b64encode(encode_frame(frame, "jpeg")).decode()
            url = f"data:image/jpeg;base64,{data}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        return content


def make_captioner(config: CaptionConfig) -> Captioner:
    """Return the captioner of a config.

    Raises:
        ConfigError: when the OpenAI captioner lacks its server or model.
    """
    if config.kind == "template":
        return TemplateCaptioner()
    if not config.base_url or not config.model:
        message = (
            f"captions: base_url={config.base_url!r} and model={config.model!r},"
            " expected both for kind 'openai'"
        )
        raise ConfigError(message)
    return OpenAICaptioner(
        config.base_url,
        config.model,
        api_key=os.environ.get(config.api_key_env, "none"),
        num_images=config.num_images,
        image_pixels=config.image_pixels,
        timeout_seconds=config.timeout_seconds,
        max_tokens=config.max_tokens,
    )


def _dominant_colours(hsv: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> list[str]:
    """Return the names of the two commonest colours of HSV pixels [N, 3]."""
    hue, saturation, value = hsv[:, 0], hsv[:, 1], hsv[:, 2]
    names = [*_HUES, *_LAST_HUES]
    index = np.searchsorted([edge for edge, _ in names], hue, side="right")
    labels = np.array([name for _, name in names])[np.minimum(index, len(names) - 1)]
    labels = np.where((saturation < 45) | (value < 25), "grey", labels)
    found, counts = np.unique(labels, return_counts=True)
    order = sorted(range(len(found)), key=lambda i: (-counts[i], found[i]))
    return [str(found[i]) for i in order[:2]]
