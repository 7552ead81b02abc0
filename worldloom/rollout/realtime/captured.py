"""A function of tensors as one CUDA graph: captured at its first call, replayed ever after.

A replay costs the host one launch, whatever the function launches. Inputs are copied into tensors
of the graph's own; what is answered is the same tensors every time, overwritten by the next call.
On a CPU, and without memory for graphs, the function is simply called. It does not know what is
computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

AnswerT = TypeVar("AnswerT")
AnyTensor = Shaped[Tensor, "..."]


class GraphMemory:
    """Memory that graphs share which never run at the same time; without it none is captured."""

    def __init__(self, *, is_used: bool = True) -> None:
        """Ask for it, where there is a GPU."""
        is_used = is_used and torch.cuda.is_available()
        self.pool = torch.cuda.graph_pool_handle() if is_used else None


class Captured(Generic[AnswerT]):
    """One function at one set of shapes."""

    def __init__(self, function: Callable[..., AnswerT], memory: GraphMemory) -> None:
        """Take a function whose work hangs on nothing but its inputs and fixed memory.

        Args:
            function: of tensors; it may write into tensors that outlive it.
            memory: where the graph works.
        """
        self._function = function
        self._memory = memory
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._answer: AnswerT | None = None

    def __call__(self, *inputs: AnyTensor) -> AnswerT:
        """Return the function's answer; nobody waits for the device."""
        if not inputs[0].is_cuda or self._memory.pool is None:
            return self._function(*inputs)
        if self._graph is None:
            return self._capture(inputs)
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        self._graph.replay()
        assert self._answer is not None, "a captured graph has an answer"
        return self._answer

    def _capture(self, inputs: tuple[Tensor, ...]) -> AnswerT:
        """Run once, so that kernels are built and tuned, then again into a graph."""
        self._inputs = [given.clone() for given in inputs]
        self._function(*self._inputs)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on calling CUDA: they wait for frames and copy them.
        with torch.cuda.graph(graph, pool=self._memory.pool, capture_error_mode="thread_local"):
            self._answer = self._function(*self._inputs)
        self._graph = graph
        graph.replay()
        return self._answer
