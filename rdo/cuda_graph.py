"""A step that is taken again and again; on a GPU it is recorded once, as a CUDA graph, and replayed.

A step of refinement launches thousands of small kernels, which takes the host longer than running them takes the
device. A replay launches them as one.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

S = TypeVar("S", bound=tuple[Any, ...])


class Repeated(Generic[S]):
    """state = step(state, *numbers), where `step` gets the numbers as tensors ().

    `S` are NamedTuples of tensors and of such. Where steps are recorded, what a call returned is overwritten by the
    next, and a step must neither wait for the device nor copy to it.
    """

    def __init__(self, step: Callable[..., S], generator: torch.Generator, recordable: bool = True) -> None:
        """`generator` is that of all noise, on the device of all tensors; not every step is `recordable`."""
        self.step, self.generator = step, generator
        self.recorded = recordable and generator.device.type == "cuda"
        self.graph: torch.cuda.CUDAGraph | None = None
        self.own: tuple[S, list[Tensor]] | None = None  # what a graph reads, and writes the new state to

    def __call__(self, state: S, *numbers: float) -> S:
        """The next state."""
        given = [torch.full((), number, device=self.generator.device) for number in numbers]  # made there: no wait
        if not self.recorded:
            return self.step(state, *given)
        with torch.cuda.device(self.generator.device):
            return self._replayed(state, given)

    def _replayed(self, state: S, given: list[Tensor]) -> S:
        if self.own is None:  # not recorded: the first step makes what libraries make once, and this memory
            self.own = _cloned(self.step(state, *given)), given
            return self.own[0]
        if self.graph is None:
            self.graph = self._record(*self.own)
        _copy((state, given), self.own)
        self.graph.replay()
        return self.own[0]

    def _record(self, state: S, numbers: list[Tensor]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        now = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, stream=_stream(now.device), capture_error_mode="thread_local"):
                _copy(self.step(state, *numbers), state)
        finally:  # torch stays on the other stream where the end of a recording fails
            torch.cuda.set_stream(now)
        return graph


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """What is recorded on; torch's own is on the device of the process's first recording."""
    return torch.cuda.Stream(device)


def _copy(source: Any, target: Any) -> None:
    """Into the tensors of `target`, of which those of `source` may be some."""
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
