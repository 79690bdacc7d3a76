"""Results that depend on a codec's weights alone, computed once for as long as the weights stay untouched.

A picture needs the model's id and its entropy networks in double precision several times over. Invariant: a kept result
is what computing it anew would give. Weights count as touched when torch has counted a write to one (every in-place
operation, `load_state_dict`), or when one was moved or replaced. Only writes behind torch's back go unseen: through
`.data`, or through a NumPy array that shares the memory. Trainable codecs are never kept.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

C = TypeVar("C")
T = TypeVar("T")


class State(NamedTuple):
    """Configuration and weights at one moment; holding the tensors keeps their addresses from being used again."""

    config: Any
    names: list[str]
    tensors: list[Tensor]
    writes: list[int]


def while_untouched(function: Callable[[C], T]) -> Callable[[C], T]:
    """Keep the result of `function` for each codec, until its weights or configuration change."""
    results: WeakKeyDictionary[C, tuple[State, T]] = WeakKeyDictionary()

    @wraps(function)
    def kept(codec: C) -> T:
        state = _state(codec)
        if state is None:
            return function(codec)
        if codec not in results or not _same(results[codec][0], state):
            results[codec] = state, function(codec)
        return results[codec][1]

    return kept


def _state(codec: object) -> State | None:
    """None where writes are not counted, or are to be expected."""
    if not isinstance(codec, nn.Module):
        return None
    tensors = codec.state_dict()
    if any(p.requires_grad for p in codec.parameters()) or any(t.is_inference() for t in tensors.values()):
        return None
    return State(codec.config, list(tensors), list(tensors.values()), [t._version for t in tensors.values()])


def _same(a: State, b: State) -> bool:
    if (a.config, a.names, a.writes) != (b.config, b.names, b.writes):
        return False
    return all(
        s.data_ptr() == t.data_ptr() and s.dtype == t.dtype and s.stride() == t.stride()
        for s, t in zip(a.tensors, b.tensors, strict=True)
    )
