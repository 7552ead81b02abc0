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


@dataclass(frozen=True)
class Request:
    """A message with the tensors that came beside it."""

    message: bytes
    tensors: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def actions(self) -> Actions:
        """Return the actions; raises `SessionError` naming the tensor and its shape."""
        keyboard = self._rows(contract.KEYBOARD, contract.NUM_KEYS)
        mouse = self._rows(contract.MOUSE, contract.NUM_MOUSE_AXES)
        try:
            return Actions(keyboard, mouse)
        except DataError as error:
            raise SessionError(ErrorCode.BAD_TENSOR, str(error)) from error

    def start_image(self, height: int, width: int) -> Frames | None:
        """Return the client's own image, if it sent one; raises `SessionError` for another size."""
        image = self.tensors.get(contract.IMAGE)
        if image is None:
            return None
        contract.require_shape(contract.IMAGE, image.shape, {0: height, 1: width, 2: 3}, rank=3)
        return image.astype(np.uint8, casting="safe")

    def _rows(self, name: str, width: int) -> NDArray[np.float32]:
        array = self.tensors.get(name)
        if array is None:
            raise SessionError(ErrorCode.BAD_TENSOR, f"{name} is missing beside actions")
        contract.require_shape(name, array.shape, {1: width}, rank=2)
        return array.astype(np.float32)
