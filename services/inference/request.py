"""One request as the engine takes it: a message and the tensors beside it, checked by name.

It knows the shapes that the contract asks for and no session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services import contract
from services.contract import ErrorCode, SessionError
from services.inference.generator import Frames
from worldloom.actions import Actions
from worldloom.errors import DataError

# The longest message is a `session_start` whose prompt is written in escapes.
MAX_MESSAGE_BYTES = 64 << 10


@dataclass(frozen=True)
class Request:
    """A message with the tensors that came beside it."""

    message: bytes
    tensors: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def text(self) -> bytes:
        """Return the message's JSON; raises `SessionError` for one that is too long to be one."""
        if len(self.message) > MAX_MESSAGE_BYTES:
            sentence = (
                f"message has {len(self.message)} bytes, expected at most {MAX_MESSAGE_BYTES}"
            )
            raise SessionError(ErrorCode.TOO_LARGE, sentence)
        return self.message

    def actions(self, max_frames: int) -> Actions:
        """Return the actions.

        Raises:
            SessionError: naming the tensor and what is wrong with it, or their number.
        """
        keyboard = self._rows(contract.KEYBOARD, contract.NUM_KEYS, max_frames)
        mouse = self._rows(contract.MOUSE, contract.NUM_MOUSE_AXES, max_frames)
        try:
            return Actions(keyboard, mouse)
        except DataError as error:
            raise SessionError(ErrorCode.BAD_TENSOR, str(error)) from error

    def start_image(self, height: int, width: int) -> Frames | None:
        """Return the client's own image, if it sent one; raises `SessionError` for another kind."""
        image = self.tensors.get(contract.IMAGE)
        if image is None:
            return None
        contract.require_shape(contract.IMAGE, image.shape, {0: height, 1: width, 2: 3}, rank=3)
        if image.dtype != np.uint8:
            sentence = f"{contract.IMAGE} holds {image.dtype}, expected uint8"
            raise SessionError(ErrorCode.BAD_TENSOR, sentence)
        return image.astype(np.uint8)

    def _rows(self, name: str, width: int, max_rows: int) -> NDArray[np.float32]:
        array = self.tensors.get(name)
        if array is None:
            raise SessionError(ErrorCode.BAD_TENSOR, f"{name} is missing beside actions")
        contract.require_shape(name, array.shape, {1: width}, rank=2)
        if len(array) > max_rows:
            sentence = f"{len(array)} actions came at once, expected at most {max_rows}"
            raise SessionError(ErrorCode.TOO_MANY_ACTIONS, sentence)
        if array.dtype.kind not in "biuf":
            sentence = f"{name} holds {array.dtype}, expected real numbers"
            raise SessionError(ErrorCode.BAD_TENSOR, sentence)
        with np.errstate(over="ignore"):  # what becomes infinite is refused with its place
            return array.astype(np.float32)
