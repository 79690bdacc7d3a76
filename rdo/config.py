"""What a refinement may be told: method, number of steps, and the schedules of each method.

Every schedule is a function of t, the fraction of the budget of steps or seconds that is spent.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from rdo.relaxations import Name

Method = Literal["rdoq", Name]
Fall = Literal["cosine", "geometric"]
Precision = Literal["fp32", "bf16"]

_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("iters patience", lambda v: v >= 0, "be at least 0"),
    ("checks strip_pixels", lambda v: v >= 1, "be at least 1"),
    ("seed", lambda v: 0 <= v < 2**63, "lie in [0, 2**63)"),
    ("heat", lambda v: 0 <= v < math.inf, "be at least 0 and finite"),
    ("share_start share_end", lambda v: 0 < v <= 1, "lie in (0, 1]"),
    ("beta1 beta2 tail", lambda v: 0 <= v < 1, "lie in [0, 1)"),
    ("ste_tail", lambda v: 0 <= v <= 1, "lie in [0, 1]"),
    (
        "lr_y lr_z lr_end temperature_start temperature_end time_budget memory_gib",
        lambda v: 0 < v < math.inf,
        "be positive and finite",
    ),
)


@dataclass(frozen=True)
class RefineConfig:
    """Settings of one refinement.

    Attributes:
        iters: steps, each one forward and one backward pass; 0 is plain encoding.
        method: `rdoq`, the annealed search among integers, or a relaxation for descent.
        heat: of `rdoq` at the start, in bits; it falls to 0. More heat needs more steps and finds better places.
        share_start, share_end: of `rdoq`: of the latents that want to move, the share that may, in 0..1.
        lr_y, lr_z: of descent: Adam's rates for y and z at the start, in quantisation steps.
        lr_end: of descent: the rates' last value as a fraction of their first.
        lr_fall: of descent: the way there, half a cosine or a constant factor a step (the paper's, lr_end^(1/iters)).
        temperature_start, temperature_end: of descent's relaxation.
        beta1, beta2: of descent: Adam's averages; short runs want a beta2 that warms up within them.
        ste_tail: of descent: fraction of its steps, at their end, that round straight through.
        tail: of descent: fraction of the budget, at its end, that goes to `rdoq` without heat.
        checks: of descent: how often the true rounded cost is looked at in the second half of the run.
        patience: stop after this many looks without a better one, of `rdoq` rounds without heat; 0 never stops. Images
            that are refined together stop together.
        time_budget: seconds after which the run stops, with schedules compressed to fit; None has no limit.
        seed: of all noise.
        memory_gib: largest memory of the process, on a GPU of its tensors: larger pictures are done in strips, which
            takes about half as long again; None cuts strips of `strip_pixels`.
        strip_pixels: of all images together, where no limit of memory is given; None is 2 megapixels, and on a GPU what
            its free memory holds.
        precision: of our own networks in the search, on GPUs that have bfloat16; elsewhere it is fp32. What is found is
            priced in fp32 anyway.
    """

    iters: int = 40
    method: Method = "rdoq"
    heat: float = 2.0
    share_start: float = 1.0
    share_end: float = 0.5
    lr_y: float = 5e-2
    lr_z: float = 1e-2
    lr_end: float = 0.1
    lr_fall: Fall = "cosine"
    temperature_start: float = 0.8
    temperature_end: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    ste_tail: float = 0.0
    tail: float = 0.0
    checks: int = 10
    patience: int = 0
    time_budget: float | None = None
    seed: int = 0
    memory_gib: float | None = None
    strip_pixels: int | None = None
    precision: Precision = "bf16"

    def __post_init__(self) -> None:
        for name, known in (("method", get_args(Method)), ("lr_fall", get_args(Fall))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: must be one of {', '.join(known)}")
        for names, fits, rule in _RULES:
            for name in names.split():
                value = getattr(self, name)
                if value is not None and not fits(value):
                    raise ValueError(f"{name} {value}: must {rule}")
