"""CUDA graphs: a repeated step, captured once on a GPU and then replayed.

A step of refinement launches thousands of small kernels, which takes the host longer than running them takes the
device. A replay launches them as one.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

S = TypeVar("S", bound=tuple[Any, ...])


class GraphedStep(Generic[S]):
    """Step function state = step(state, *numbers), replayed as a CUDA graph where that can be done.

    The state S is a NamedTuple of tensors and of such tuples; `step` gets the numbers as tensors (). A captured step
    must neither wait for the device nor copy to it, and each call overwrites the state that the last one returned.

    Args:
        step: function to repeat.
        generator: source of all noise of the step, on the device of its tensors.
        capturable: whether the step may be captured.
    """

    def __init__(self, step: Callable[..., S], generator: torch.Generator, capturable: bool = True) -> None:
        self.step, self.generator = step, generator
        self.captured = capturable and generator.device.type == "cuda"
        self.graph: torch.cuda.CUDAGraph | None = None
        self.buffers: tuple[S, list[Tensor]] | None = None  # the graph's inputs; the new state goes there too

    def __call__(self, state: S, *numbers: float) -> S:
        """Return the next state."""
        given = [torch.full((), number, device=self.generator.device) for number in numbers]  # made there: no wait
        if not self.captured:
            return self.step(state, *given)
        with torch.cuda.device(self.generator.device):
            return self._replayed(state, given)

    def _replayed(self, state: S, given: list[Tensor]) -> S:
        if self.buffers is None:  # not captured: the first step initialises libraries, and allocates the buffers
            self.buffers = _cloned(self.step(state, *given)), given
            return self.buffers[0]
        if self.graph is None:
            self.graph = self._capture(*self.buffers)
        _copy((state, given), self.buffers)
        self.graph.replay()
        return self.buffers[0]

    def _capture(self, state: S, numbers: list[Tensor]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        now = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, stream=_stream(now.device), capture_error_mode="thread_local"):
                _copy(self.step(state, *numbers), state)
        finally:  # torch stays on the capturing stream where the end of a capture fails
            torch.cuda.set_stream(now)
        return graph


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the capturing stream of a device; torch's default one is on the device of the process's first capture."""
    return torch.cuda.Stream(device)


def _copy(source: Any, target: Any) -> None:
    """Copy the tensors of `source` into those of `target`; the two may share tensors."""
    pairs = [(new, old) for new, old in zip(_tensors(source), _tensors(target), strict=True) if new is not old]
    for copy, old in [(new.clone(), old) for new, old in pairs]:
        old.copy_(copy)


def _cloned(tree: Any) -> Any:
    return tree.clone() if isinstance(tree, Tensor) else type(tree)(*map(_cloned, tree))


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    else:
        for branch in tree:
            yield from _tensors(branch)
