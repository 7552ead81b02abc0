"""The project's numpy arrays by the numbers that they hold.

Written out, and not as `NDArray[...]`: from numpy 2.5 on that is an alias that shape annotations
(`Float[FloatArray, "F 4 4"]`) cannot look into. It knows no shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
SingleArray = np.ndarray[Any, np.dtype[np.float32]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ByteArray = np.ndarray[Any, np.dtype[np.uint8]]
