"""Arithmetic of torch: switches that decide in what precision it computes, set for a while and then restored.

The invariant: what writes a file and what reads it compute under `coding_arithmetic`, whatever the caller has switched.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def coding_arithmetic() -> Iterator[None]:
    """Switch off autocast, TF32 and gradients, so that writer and reader compute alike."""
    off = torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False)
    with products("ieee"), torch.no_grad(), off[0], off[1]:
        yield


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Set the precision of fp32 matrix products and convolutions, "ieee" or "tf32", and restore it at the end."""
    backends = torch.backends
    kinds = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = precision
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision
