"""Budget of a folder, as flags give it: bytes or bits per pixel for all pictures together, and a floor of quality."""

import argparse
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.errors import ConfigError

if TYPE_CHECKING:
    from codec.interface import AnyCodec
    from jobs.running.encode_settings import RateFlags

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SCORE_MAX = 100.0  # of SSIMULACRA 2


@dataclass(frozen=True)
class BudgetFlags:
    """Flags of a budget, named as on the command line; None leaves one out.

    Attributes:
        target_total: size of all files together, such as 50MB (10^6 bytes), 48MiB (2^20 bytes) or 50000000.
        target_total_bpp: bits per pixel of all files together.
        floor_ssimulacra2: score that no picture may fall below; its bytes come from the others.
    """

    target_total: str | None = None
    target_total_bpp: float | None = None
    floor_ssimulacra2: float | None = None


@dataclass(frozen=True)
class Budget:
    """Size of all files together, by bytes or by bits per pixel, and the least score of each picture, if any.

    Raises:
        ConfigError: a value out of range, or not one size.
    """

    total_bytes: int | None
    bpp: float | None
    floor: float | None

    def __post_init__(self) -> None:
        if (self.total_bytes is None) == (self.bpp is None):
            raise ConfigError("--target-total and --target-total-bpp: give one of them")
        if self.bpp is not None and not 0 < self.bpp < math.inf:
            raise ConfigError(f"--target-total-bpp {self.bpp}: must be positive and finite")
        if self.floor is not None and not -math.inf < self.floor < SCORE_MAX:
            raise ConfigError(f"--floor-ssimulacra2 {self.floor}: must be below {SCORE_MAX:g}")

    def limit(self, pixels: int) -> int:
        """Return the most bytes of pictures that have so many pixels together."""
        return self.total_bytes if self.total_bytes is not None else math.floor((self.bpp or 0.0) * pixels / 8)


def budget_of(flags: BudgetFlags) -> Budget | None:
    """Return the budget that flags ask for, None where they ask for none.

    Raises:
        ConfigError: a value out of range, two sizes, or a floor without a size.
    """
    if flags.target_total is None and flags.target_total_bpp is None:
        if flags.floor_ssimulacra2 is not None:
            raise ConfigError("--floor-ssimulacra2: the floor of a budget: add --target-total or --target-total-bpp")
        return None
    total = None if flags.target_total is None else size_of(flags.target_total)
    return Budget(total, flags.target_total_bpp, flags.floor_ssimulacra2)


def check_budget(rate: "RateFlags", codec: "AnyCodec", *, in_folder: bool) -> None:
    """Refuse a budget beside what it settles, of a codec with one quality, or for one file.

    Args:
        rate: flags of the run.
        in_folder: whether the files are written to a folder.

    Raises:
        ConfigError: the two do not go together.
    """
    names = ("quality", "lmbda", "target_bytes", "target_bpp", "target_psnr", "target_ssimulacra2")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(rate, name) is not None]
    if given:
        raise ConfigError(f"{given[0]} and --target-total: a budget settles the quality of each picture: leave one out")
    if rate.exact == "all":
        raise ConfigError("--exact all and --target-total: lossless files have one size: leave one out")
    if not codec.variable_rate:
        alone = f"{codec.config.name} has quality {codec.default_quality:g} alone"
        raise ConfigError(f"--target-total: {alone}: leave it out, or name another model")
    if not in_folder:
        raise ConfigError("--target-total: of a folder of files: name a folder with -o, or take --target-bytes")


def size_of(text: str) -> int:
    """Return the bytes of a size such as 50MB, 1.5GiB or 200000.

    Raises:
        ConfigError: no size, or none of at least a byte.
    """
    found = re.fullmatch(r"\s*([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)\s*([A-Za-z]*)\s*", text)
    size = float(found[1]) * UNITS.get(found[2].lower(), math.nan) if found else math.nan
    if not 1 <= size < math.inf:
        raise ConfigError(f"--target-total {text}: write a size such as 50MB (10^6 bytes), 48MiB (2^20) or 50000000")
    return math.floor(size)


def add_budget_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `BudgetFlags`."""
    budget = flags.add_argument_group("a budget for all pictures together, in place of a quality or a target of each")
    budget.add_argument(
        "--target-total", metavar="SIZE",
        help="most bytes of all files together, such as 50MB (10^6 bytes each), of which 99.5 %% are used, on the "
        "pictures where they help most",
    )  # fmt: skip
    budget.add_argument("--target-total-bpp", type=float, metavar="BPP", help="the same, in bits per pixel of all")
    budget.add_argument(
        "--floor-ssimulacra2", type=float, metavar="POINTS",
        help="SSIMULACRA 2 score that no picture falls below; the bytes for it come from the others",
    )  # fmt: skip
