"""A computation of a network on tensors, recorded as CUDA graphs: a forward, and its backward.

A small network's step is thousands of launches, each of which takes longer to ask for than to do.
Recording asks once for each set of shapes and replays that: what is replayed is what eager
execution does, so it starts after seconds, where a compiler takes minutes. Whatever the
computation reads beside its inputs and the network's parameters must stay where it is, and nothing
in it may wait for the host. On other devices the computation simply runs. It does not know what is
computed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Output = Float[Tensor, "*output"]
Compute = Callable[..., tuple[Output, ...]]

_WARMUPS = 3


class Recorded:
    """Calls `compute(*inputs)`; its outputs have gradients for the network's parameters alone."""

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        """Record nothing yet."""
        self._network, self._compute = network, compute
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Output, ...]:
        """Return what `compute` returns; the first call of these shapes records it."""
        if inputs[0].device.type != "cuda":
            return self._compute(*inputs)
        learnt = [p for p in self._network.parameters() if p.requires_grad]
        parameters = learnt if torch.is_grad_enabled() else []
        key = (
            tuple((x.shape, x.dtype) for x in inputs),
            len(parameters),
            next(self._network.parameters()).data_ptr(),
            torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None,
        )
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._recordings[key] = _Recording(self._compute, inputs, parameters)
        if not parameters:
            return recording.forward(inputs)
        outputs: tuple[Tensor, ...] = _Replay.apply(recording, inputs, *parameters)
        return outputs


class _Recording:
    """The graphs of one set of shapes, and the tensors that they read and write."""

    def __init__(
        self, compute: Compute, inputs: Sequence[Tensor], parameters: Sequence[nn.Parameter]
    ) -> None:
        self._inputs = [value.detach().clone() for value in inputs]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), _uncached_autocast():
            for _ in range(_WARMUPS):  # libraries set themselves up at their first calls
                made = compute(*self._inputs)
                if parameters:
                    _gradients(made, parameters, [torch.ones_like(one) for one in made])
            del made
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # what the warm-up held is not the graphs' to use
        with _captured(self._forward, stream), _uncached_autocast():
            self._outputs = compute(*self._inputs)
        self._output_gradients = [torch.empty_like(one) for one in self._outputs]
        self._gradients: Sequence[Tensor | None] = ()
        if parameters:
            with _captured(self._backward, stream, self._forward):
                self._gradients = _gradients(self._outputs, parameters, self._output_gradients)

    @property
    def is_learnt(self) -> list[bool]:
        """Which outputs hang on the parameters."""
        return [one.requires_grad for one in self._outputs]

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs for other inputs."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._forward.replay()
        return tuple(one.detach().clone() for one in self._outputs)

    def backward(self, output_gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the parameters' gradients; only of the latest forward."""
        for own, given in zip(self._output_gradients, output_gradients, strict=True):
            own.zero_() if given is None else own.copy_(given)
        self._backward.replay()
        return [None if value is None else value.clone() for value in self._gradients]


def _gradients(
    outputs: Sequence[Tensor], parameters: Sequence[nn.Parameter], of_outputs: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """Return the parameters' gradients by the outputs that hang on them."""
    learnt = [index for index, one in enumerate(outputs) if one.requires_grad]
    return torch.autograd.grad(
        [outputs[index] for index in learnt],
        parameters,
        [of_outputs[index] for index in learnt],
        allow_unused=True,
    )


class _Replay(torch.autograd.Function):
    """A recorded computation as one operation, for autograd."""

    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401 - torch's
        recording: _Recording,
        inputs: Sequence[Tensor],
        *_parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        context.recording = recording
        outputs = recording.forward(inputs)
        learnt = recording.is_learnt
        context.mark_non_differentiable(
            *(one for one, is_one in zip(outputs, learnt, strict=True) if not is_one)
        )
        return outputs

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        recording: _Recording = context.recording
        return (None, None, *recording.backward(gradients))


def _captured(
    graph: torch.cuda.CUDAGraph,
    stream: torch.cuda.Stream,
    beside: torch.cuda.CUDAGraph | None = None,
) -> AbstractContextManager[None]:
    """Return what records into a graph, in the memory of another; other threads may go on."""
    pool = None if beside is None else beside.pool()
    return torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")


def _uncached_autocast() -> AbstractContextManager[object]:
    """Let a recording round weights anew each time, instead of reading what was rounded before."""
    if not torch.is_autocast_enabled("cuda"):
        return nullcontext()
    dtype = torch.get_autocast_dtype("cuda")
    return torch.autocast("cuda", dtype=dtype, cache_enabled=False)
