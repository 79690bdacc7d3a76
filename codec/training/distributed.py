"""Parallel training: the rank of this process, and values that must be equal in all processes.

Processes are started by `torchrun`, which sets their ranks in the environment. Gradients are averaged by torch's DDP;
elapsed time and the request to stop, which may differ between processes, are made equal here. With one process, nothing
is exchanged.
"""

import os
from typing import NamedTuple

import torch
from torch import distributed


class Process(NamedTuple):
    """Rank of this process among `world_size`; rank 0 saves the state and reports."""

    rank: int
    world_size: int

    def batch_rows(self) -> slice:
        """Return the rows of the common batch that are this process's share."""
        return slice(self.rank, None, self.world_size)


def join_processes(device: str) -> str:
    """Join the other processes that torchrun started, if any, and return the device of this one."""
    if "WORLD_SIZE" not in os.environ:
        return device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return device


def leave_processes() -> None:
    """Leave the process group that `join_processes` entered, if any."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def this_process() -> Process:
    """Return the rank of this process and the number of processes."""
    if not distributed.is_initialized():
        return Process(0, 1)
    return Process(distributed.get_rank(), distributed.get_world_size())


def agree_on_pause(elapsed_s: float, stop: bool, device: torch.device) -> tuple[float, bool]:
    """Return rank 0's `elapsed_s`, and whether `stop` is true in any process; waits for all processes.

    Elapsed times of the other ranks include waiting for rank 0 while it validates.
    """
    rank, world_size = this_process()
    if world_size == 1:
        return elapsed_s, stop
    both = torch.tensor([0.0 if rank else elapsed_s, float(stop)], dtype=torch.float64, device=device)
    distributed.all_reduce(both)
    first_s, stops = both.tolist()
    return first_s, stops > 0
