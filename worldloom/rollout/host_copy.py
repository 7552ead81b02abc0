"""What goes from a device to the host while the device goes on working.

A copy is started behind the work that makes the tensor and waited for where it is needed; `beside`
lets work go on on a second stream. On a CPU there is nothing to wait for. It does not know what is
copied or done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Shaped
from torch import Tensor

AnyTensor = Shaped[Tensor, "..."]


@contextmanager
def beside(stream: torch.cuda.Stream | None, source: AnyTensor) -> Iterator[None]:
    """Queue the work inside on another stream, behind what makes `source`; None: where we are."""
    if stream is None:
        yield
        return
    stream.wait_stream(torch.cuda.current_stream(source.device))
    if stream.device == source.device:
        source.record_stream(stream)
    with torch.cuda.stream(stream):
        yield


class HostCopy:
    """A tensor on its way to the host."""

    def __init__(self, source: AnyTensor) -> None:
        """Start the copy behind the work that is queued on the current stream."""
        self._event: torch.cuda.Event | None = None
        if not source.is_cuda:
            self._copy = source
            return
        self._copy = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        self._copy.copy_(source, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    @property
    def is_there(self) -> bool:
        """Tell whether `wait` would return at once."""
        return self._event is None or self._event.query()

    def wait(self) -> AnyTensor:
        """Return the tensor on the host."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy
