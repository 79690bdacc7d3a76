"""Cache of results that depend on a codec's weights alone, such as its model id, valid until a weight changes.

Invariant: a cached result equals that of computing it again. A weight counts as changed when torch has counted a write
to it (every in-place operation, `load_state_dict`), or when it was moved or replaced. Writes that torch does not count
are missed: through `.data`, or through a NumPy array that shares the memory. Trainable codecs are never cached.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

C = TypeVar("C")
T = TypeVar("T")


class State(NamedTuple):
    """Configuration, weights and their write counts at one moment; keeps the tensors, so that no address is reused."""

    config: Any
    names: list[str]
    tensors: list[Tensor]
    write_counts: list[int]


def cached_by_weights(function: Callable[[C], T]) -> Callable[[C], T]:
    """Cache the result of `function` for each codec, until its weights or configuration change."""
    results: WeakKeyDictionary[C, tuple[State, T]] = WeakKeyDictionary()

    @wraps(function)
    def cached(codec: C) -> T:
        state = _state(codec)
        if state is None:
            return function(codec)
        if codec not in results or not _same(results[codec][0], state):
            results[codec] = state, function(codec)
        return results[codec][1]

    return cached


def _state(codec: object) -> State | None:
    """Return the state of a codec; None if it is trainable, no module, or in inference mode, which counts no writes."""
    if not isinstance(codec, nn.Module):
        return None
    tensors = codec.state_dict()
    if any(p.requires_grad for p in codec.parameters()) or any(t.is_inference() for t in tensors.values()):
        return None
    return State(codec.config, list(tensors), list(tensors.values()), [t._version for t in tensors.values()])


def _same(a: State, b: State) -> bool:
    """Return whether no weight was written, moved or replaced between two states."""
    if (a.config, a.names, a.write_counts) != (b.config, b.names, b.write_counts):
        return False
    return all(
        s.data_ptr() == t.data_ptr() and s.dtype == t.dtype and s.stride() == t.stride()
        for s, t in zip(a.tensors, b.tensors, strict=True)
    )
