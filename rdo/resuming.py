"""Resuming: the state of a refinement between two steps, saved now and then, so that a killed one goes on there.

    with snapshots.kept(clock, state_of) as keep:       saves once more where the loop is interrupted
        while ...:
            keep()                                       between two steps; saves at most once in INTERVAL_S

The invariant: a state holds all that the following steps depend on (latents, noise, the optimiser's averages), so that
on a CPU a resumed refinement ends at the latents of one that was never interrupted.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from codec.interface import Latents
from rdo.config import RefineConfig
from rdo.schedules import Clock

INTERVAL_S = 60.0  # between two saves
Tensors = dict[str, Tensor]


class Store(Protocol):
    """Place for the saved states of one picture, all in one piece of data."""

    def read(self) -> bytes | None:
        """Return what was written last, None where nothing is."""

    def write(self, data: bytes) -> None:
        """Replace what is there, whole or not at all."""


class State(NamedTuple):
    """State between two steps.

    Attributes:
        stage: part of the refinement: `descent`, `search`, or `done`.
        step: steps done, over all stages.
        seconds: wall time spent.
        tensors: of the stage, on the CPU.
    """

    stage: str
    step: int
    seconds: float
    tensors: Tensors

    def latents(self, name: str, device: torch.device) -> Latents:
        """Return saved latents of a name."""
        return Latents(*(self.tensors[f"{name}.{part}"].to(device) for part in "yz"))


class Snapshots:
    """Saved states of one refinement among those of its picture, which a target search has several of.

    Args:
        store: place of the picture's states.
        key: name of the refinement.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, key
        self.others, own = _parsed(store.read() or b"", key)
        self.state, self.saved = own, own is not None
        self.last_save = time.monotonic()

    @contextmanager
    def kept(self, stage: str, clock: Clock, tensors_of: Callable[[], Tensors]) -> Iterator[Callable[[], None]]:
        """Give a function to be called between steps, which saves in time; save where the steps are interrupted.

        Args:
            stage: name of the stage.
            clock: of the refinement.
            tensors_of: returns the tensors of the state, which must not be changed in place by the steps.
        """
        last: State | None = None

        def keep() -> None:
            nonlocal last
            due = time.monotonic() - self.last_save >= INTERVAL_S
            if not due and clock.on_gpu:  # copies and the clock would wait for the device in each step
                return
            last = State(stage, clock.step, clock.seconds, tensors_of())
            if due:
                self._save(last)

        try:
            yield keep
        except (KeyboardInterrupt, SystemExit):
            if last is not None and last.step:
                self._save(last)
            raise

    def finish(self, clock: Clock, best: Latents) -> None:
        """Save the result of a refinement that was saved before it ended: its file is not yet written."""
        if self.saved:
            self._save(State("done", clock.step, clock.seconds, named("best", best)))

    def _save(self, state: State) -> None:
        own = {f"{self.key}/{state.stage}/{name}": t for name, t in state.tensors.items()}
        times = {f"{self.key}/{state.stage}/clock": torch.tensor([state.step, state.seconds], dtype=torch.float64)}
        copies = {name: _packed(t.detach().cpu()) for name, t in {**self.others, **own, **times}.items()}
        self.store.write(save(copies))  # of copies, as it takes no two tensors that share memory
        self.saved, self.last_save = True, time.monotonic()


@contextmanager
def kept_nowhere(stage: str, clock: Clock, tensors_of: Callable[[], Tensors]) -> Iterator[Callable[[], None]]:  # noqa: ARG001
    """Give a function that saves nothing, in the place of `Snapshots.kept`."""
    yield lambda: None


def named(name: str, latents: Latents) -> Tensors:
    """Return latents as tensors of a state."""
    return {f"{name}.y": latents.y, f"{name}.z": latents.z}


def _packed(t: Tensor) -> Tensor:
    """Return a copy of a tensor; small whole numbers, such as most rounded latents, in a quarter of the memory."""
    if t.dtype == torch.float32:
        small = t.to(torch.int8)
        if torch.equal(small.float(), t):
            return small
    return t.clone().contiguous()


def _unpacked(t: Tensor) -> Tensor:
    return t.float() if t.dtype == torch.int8 else t


def refinement_key(config: RefineConfig, **settings: object) -> str:
    """Return the name of a refinement: equal for those that take the same steps.

    Args:
        config: of the refinement; its limits of time and memory do not count.
        settings: whatever else decides the steps.
    """
    steps = replace(config, time_budget=None, memory_gib=None, strip_pixels=None)
    return hashlib.sha256(repr((steps, sorted(settings.items()))).encode()).hexdigest()[:16]


def _parsed(data: bytes, key: str) -> tuple[Tensors, State | None]:
    """Return the tensors of other refinements, and the state of the one of this key, if it is there."""
    try:
        tensors: Mapping[str, Tensor] = load(data) if data else {}
        names = {name: name.split("/") for name in tensors}
        others = {name: tensors[name] for name, parts in names.items() if parts[0] != key}
        own = {parts[2]: _unpacked(tensors[name]) for name, parts in names.items() if parts[0] == key}
        if not own:
            return others, None
        step, seconds = own.pop("clock").tolist()
        stage = next(parts[1] for parts in names.values() if parts[0] == key)
    except (SafetensorError, LookupError, ValueError):  # torn, or of something else
        return {}, None
    return others, State(stage, int(step), seconds, own)
