"""A computation of a network on tensors, recorded as CUDA graphs: a forward, and its backward.

A small network's step is thousands of launches, each of which takes longer to ask for than to do.
Recording asks once for each set of shapes and replays that: what is replayed is what eager
execution does, so it starts after seconds, where a compiler takes minutes. Whatever the
computation reads beside its inputs and the network's parameters must stay where it is, and nothing
in it may wait for the host. On other devices the computation simply runs.

Under autocast everything between two products is computed in float32; a small network spends its
time there. So where asked, what is recorded is the computation by a twin of the network whose
weights are rounded once a call: all of it runs in that precision, as large models are trained. The
network's own weights, and their gradients, stay as they are. It does not know what is computed.
"""

from __future__ import annotations

import copy
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
    """Calls `compute(network, *inputs)`; its outputs have gradients for parameters alone."""

    def __init__(
        self, network: nn.Module, compute: Compute, *, rounds_weights: bool = False
    ) -> None:
        """Record nothing yet; `rounds_weights`: under autocast, by a twin of rounded weights."""
        self._network, self._compute, self._rounds = network, compute, rounds_weights
        self._recordings: dict[Hashable, _Recording] = {}
        self._twins: dict[Hashable, _Twin] = {}  # recordings read their weights, so they stay

    def __call__(self, *inputs: Tensor) -> tuple[Output, ...]:
        """Return what `compute` returns; the first call of these shapes records it."""
        if inputs[0].device.type != "cuda":
            return self._compute(self._network, *inputs)
        learnt = [p for p in self._network.parameters() if p.requires_grad]
        parameters = learnt if torch.is_grad_enabled() else []
        dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        of_network = (next(self._network.parameters()).data_ptr(), dtype)
        key = (tuple((x.shape, x.dtype) for x in inputs), len(parameters), of_network)
        recording = self._recordings.get(key)
        if recording is None:
            if of_network not in self._twins:
                self._twins[of_network] = _Twin(self._network, dtype if self._rounds else None)
            twin = self._twins[of_network]
            recording = _Recording(twin, self._compute, inputs, is_learnt=bool(parameters))
            self._recordings[key] = recording
        if not parameters:
            return recording.forward(inputs)
        outputs: tuple[Tensor, ...] = _Replay.apply(recording, inputs, *parameters)
        return outputs


class _Twin:
    """The network that is recorded: itself, or a copy in another precision that follows it."""

    def __init__(self, network: nn.Module, dtype: torch.dtype | None) -> None:
        self.network = network
        self._source: list[Tensor] = []
        self._rounded: list[Tensor] = []
        if dtype is not None:
            self.network = copy.deepcopy(network).to(dtype)
            self._source = [p.detach() for p in network.parameters()]
            self._rounded = [p.detach() for p in self.network.parameters()]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that learn, in the network's order."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def follow(self) -> None:
        """Take over the network's weights as they are now."""
        if self._source:
            torch._foreach_copy_(self._rounded, self._source)

    def precision(self) -> AbstractContextManager[object]:
        """Return the autocast under which to compute: none, where weights are rounded already.

        Else it rounds weights anew each time, instead of reading what was rounded before.
        """
        if not torch.is_autocast_enabled("cuda"):
            return nullcontext()
        dtype = torch.get_autocast_dtype("cuda")
        return torch.autocast("cuda", dtype=dtype, enabled=not self._source, cache_enabled=False)


class _Recording:
    """The graphs of one set of shapes, and the tensors that they read and write."""

    def __init__(
        self, twin: _Twin, compute: Compute, inputs: Sequence[Tensor], *, is_learnt: bool
    ) -> None:
        network, parameters = twin.network, twin.parameters if is_learnt else []
        self._inputs = [value.detach().clone() for value in inputs]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), twin.precision():
            for _ in range(_WARMUPS):  # libraries set themselves up at their first calls
                twin.follow()
                made = compute(network, *self._inputs)
                if parameters:
                    _gradients(made, parameters, [torch.ones_like(one) for one in made])
            del made
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # what the warm-up held is not the graphs' to use
        with _captured(self._forward, stream), twin.precision():
            twin.follow()
            self._outputs = compute(network, *self._inputs)
        self._output_gradients = [torch.empty_like(one) for one in self._outputs]
        self._gradients: Sequence[Tensor | None] = ()
        if parameters:
            with _captured(self._backward, stream, self._forward):
                self._gradients = [
                    None if value is None else value.float()
                    for value in _gradients(self._outputs, parameters, self._output_gradients)
                ]

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
