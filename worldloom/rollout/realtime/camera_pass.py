"""A camera injector's pass over rows of embedded rays: a block's scale and shift, once a segment.

It does not know where rays come from, nor what scale and shift are applied to.

Letters: R rows, E width.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from worldloom.model.camera_injection import CameraInjector
from worldloom.quantize.rows import Rows
from worldloom.rollout.realtime.product import RowFormat, answer_of, format_of, multiply
from worldloom.rollout.realtime.rows import Residual, Update, activate, update

OfRows = Float[Tensor, "R E"]


class CameraPass:
    """One injector's layers in the strokes of a GPU."""

    def __init__(self, injector: CameraInjector) -> None:
        """Take an injector's layers."""
        self.injector = injector

    @property
    def row_format(self) -> RowFormat:
        """The format of the rows of rays that it reads."""
        return format_of(self.injector.inner)

    def __call__(self, rays: OfRows, rows: Rows) -> tuple[OfRows, OfRows]:
        """Return (scale, shift); `rows` are the rays in the injector's format."""
        injector, dtype = self.injector, rays.dtype
        inner = multiply(injector.inner, rows, dtype)
        outer = multiply(injector.outer, activate(inner, "silu", format_of(injector.outer)), dtype)
        _, hidden = update(Residual(rays, outer), Update(), format_of(injector.scale))
        return answer_of(injector.scale, hidden, dtype), answer_of(injector.shift, hidden, dtype)
