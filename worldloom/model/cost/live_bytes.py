"""How many bytes of tensors a run holds at its fullest, followed on the meta device.

Every storage that an operation makes is counted until the last tensor on it is gone, so views are
free and what is dropped early is not counted late. Attention is counted as a fused kernel runs it:
its output, never its scores. It does not know what is run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Follows storages made while it is active."""

    def __init__(self, known: Iterable[Shaped[Tensor, "*_"]]) -> None:
        """Count nothing of the tensors that are known already, such as weights."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}
        self._known = list(known)  # held, so that no new storage takes an old one's place
        for tensor in self._known:
            self._sizes[_key(tensor)] = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Run an operation and follow what it made."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._follow(leaf)
        return made

    def _follow(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


@contextmanager
def live_bytes(known: Iterable[Shaped[Tensor, "*_"]]) -> Iterator[LiveBytes]:
    """Follow the bytes of what is run inside, which must be on the meta device."""
    follower = LiveBytes(known)
    with torch.inference_mode(), _FusedAttention(), follower:
        yield follower


class _FusedAttention(TorchFunctionMode):
    """Answers attention with an output of its shape, as a fused kernel allocates."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, _, value = args[:3]
        assert isinstance(query, Tensor)
        assert isinstance(value, Tensor)
        return query.new_empty(*query.shape[:-1], value.shape[-1])


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001
