"""The entry that Triton's Python backend loads; everything is in services.inference."""

from __future__ import annotations

from services.inference.triton_model import TritonModel


class TritonPythonModel(TritonModel):
    """The name that the Python backend looks for."""
