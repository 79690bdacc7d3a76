"""Settings of one refinement: the method, the number of steps, and the schedules of each method.

Every schedule is a function of t, the fraction of the budget of steps or seconds that is spent.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from codec.errors import ConfigError
from codec.own_functions import is_function_name
from rdo.relaxations import RELAXATIONS, relaxation_of

METHODS = ("rdoq", *RELAXATIONS)
Decay = Literal["cosine", "geometric"]
Precision = Literal["fp32", "bf16"]

_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("iters patience", lambda v: v >= 0, "be at least 0"),
    ("checks strip_pixels", lambda v: v >= 1, "be at least 1"),
    ("seed", lambda v: 0 <= v < 2**63, "lie in [0, 2**63)"),
    ("temperature_bits", lambda v: 0 <= v < math.inf, "be at least 0 and finite"),
    ("move_fraction_start move_fraction_end", lambda v: 0 < v <= 1, "lie in (0, 1]"),
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
        method: `rdoq`, the annealed search among integers, or a relaxation of rounding for gradient descent: a name in
            `rdo.relaxations`, or `package.module:function` for one of your own.
        temperature_bits: of `rdoq`: initial temperature, in bits; it falls to 0. A higher one needs more steps and then
            leaves poor minima more often; 0 accepts only moves that lower the predicted cost.
        move_fraction_start, move_fraction_end: of `rdoq`: fraction in (0, 1] of the accepted moves that are made in a
            step, at the start and the end of the run. Below 1, latents that would correct the same error rarely move
            together.
        lr_y, lr_z: of descent: Adam's initial learning rates for y and z, in quantisation steps.
        lr_end: of descent: final learning rate, as a fraction of the initial one.
        lr_fall: of descent: decay of the learning rates, half a cosine, or the constant factor lr_end^(1/iters) a step
            of arXiv:2306.14287.
        temperature_start, temperature_end: of descent: temperature of the relaxation, no unit; lower is nearer to
            rounding.
        beta1, beta2: of descent: Adam's averages; short runs need a beta2 that warms up within them.
        ste_tail: of descent: fraction of its steps, at their end, with straight-through rounding.
        tail: of descent: fraction of the budget, at its end, that goes to `rdoq` at temperature 0.
        checks: of descent: number of times that the rounded latents are priced in the second half of the run.
        patience: early stopping after this many checks in a row in which no image of the batch improved; a check is one
            of `checks`, or a step of `rdoq` at temperature 0. 0 disables it, but for the second sweep over the tiles of
            a large picture (`rdo.tiles`).
        time_budget: seconds after which the run stops, its schedules compressed to fit; None has no limit.
        seed: of all noise.
        memory_gib: peak memory of the process (on a GPU, of its tensors) in GiB: larger pictures are refined in strips,
            which takes about half as long again; None decides by `strip_pixels`.
        strip_pixels: pixels of a batch up to which it is refined whole, where `memory_gib` is None; None is 3
            megapixels, and on a GPU what its free memory holds.
        precision: of the networks during the search, on GPUs that have bfloat16 and for codecs that allow it; the
            result is priced in fp32 in any case.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        "heat": "temperature_bits",
        "share_start": "move_fraction_start",
        "share_end": "move_fraction_end",
    }

    iters: int = 40
    method: str = "rdoq"
    temperature_bits: float = 2.0
    move_fraction_start: float = 1.0
    move_fraction_end: float = 0.5
    lr_y: float = 5e-2
    lr_z: float = 1e-2
    lr_end: float = 0.1
    lr_fall: Decay = "cosine"
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
        _check_method(self.method)
        if self.lr_fall not in get_args(Decay):
            raise ValueError(f"lr_fall {self.lr_fall!r}: must be one of {', '.join(get_args(Decay))}")
        for names, fits, rule in _RULES:
            for name in names.split():
                value = getattr(self, name)
                if value is not None and not fits(value):
                    raise ValueError(f"{name} {value}: must {rule}")


def _check_method(method: str) -> None:
    """Refuse a method that is not there, before a picture is read.

    Raises:
        ValueError: no such name, module or function.
    """
    if method in METHODS:
        return
    if not is_function_name(method):
        nearest = difflib.get_close_matches(method, METHODS, n=1, cutoff=0.0)
        known = f"{', '.join(METHODS)}, or package.module:function"
        raise ValueError(f"method: unknown value {method!r}; did you mean {nearest[0]!r}? valid values: {known}")
    try:
        relaxation_of(method)
    except ConfigError as error:
        raise ValueError(f"method: {error}") from error
