"""The entry that Triton's Python backend loads; everything is in services.inference.

The backend's interpreter does not read PYTHONPATH by itself, so its entries are put in front here;
without that the model would load only where the server was started in the sources' folder.
"""

from __future__ import annotations

import os
import sys

sys.path[:0] = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]

from services.inference.triton_model import TritonModel  # noqa: E402 - needs the path above


class TritonPythonModel(TritonModel):
    """The name that the Python backend looks for."""
