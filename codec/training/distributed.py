"""Several processes, one run: who am I, and what must all of them agree on. Alone, everything here is the identity.

Processes are started by `torchrun`, which says in the environment who is who. Gradients are averaged by torch's DDP;
what may differ between processes, the clock and the wish to stop, is agreed upon here.
"""

import os
from typing import NamedTuple

import torch
from torch import distributed


class Peers(NamedTuple):
    """This process among all: `rank` 0 keeps the state and reports."""

    rank: int
    world: int

    def share(self) -> slice:
        """Which rows of the common batch are this process's."""
        return slice(self.rank, None, self.world)


def join(device: str) -> str:
    """Join the other processes that torchrun started, if any; returns this process's device."""
    if "WORLD_SIZE" not in os.environ:
        return device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return device


def leave() -> None:
    """Undo `join`."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def peers() -> Peers:
    """This process's rank, and how many there are."""
    if not distributed.is_initialized():
        return Peers(0, 1)
    return Peers(distributed.get_rank(), distributed.get_world_size())


def agree(seconds: float, stop: bool, device: torch.device) -> tuple[float, bool]:
    """The first process's `seconds`, and whether any wants to stop; waits for all.

    The others' would hold their waiting for the first while it validates.
    """
    rank, world = peers()
    if world == 1:
        return seconds, stop
    both = torch.tensor([0.0 if rank else seconds, float(stop)], dtype=torch.float64, device=device)
    distributed.all_reduce(both)
    first, wishes = both.tolist()
    return first, wishes > 0
