"""Goals of a file: a size in bytes, a PSNR or a SSIMULACRA 2 score; `rdo.target_search` finds settings that meet one.

Files are measured on a scale that is almost linear in quality and in log(lmbda): log(bytes), dB or points.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from codec.errors import ConfigError

Kind = Literal["bytes", "psnr", "ssimulacra2"]
WORD_BYTES = 4  # a file grows by whole words
TOLERANCES: dict[Kind, float] = {"psnr": 0.05, "ssimulacra2": 0.5}  # in dB; in points
UNITS: dict[Kind, str] = {"bytes": "bytes", "psnr": "dB", "ssimulacra2": "points"}


class Slopes(NamedTuple):
    """Typical rise of the measured value, per level of quality and per unit of log(lmbda) at a fixed quality."""

    quality: float
    log_lmbda: float


@dataclass(frozen=True)
class Goal:
    """Goal of a file: a ceiling of `bytes`, filled to a fraction or within two words; or a quality met to a tolerance.

    A ceiling above the file of the highest quality gets that file. One latent of a small picture may be worth several
    words: where the fraction cannot be met, a file up to 5 % below the ceiling is acceptable. Where sizes or qualities
    leap so far between one quality level and the next that none of these is found, as in flat colours, the nearest file
    that was found below the ceiling, or above the quality, is taken.

    Attributes:
        kind: `bytes`; `psnr`, met to 0.05 dB; or `ssimulacra2`, met to 0.5 points.
        value: bytes, dB or points.
        fill: of a ceiling, the fraction in 0.95..1 that is to be filled.
    """

    kind: Kind
    value: float
    fill: float = 0.99

    def __post_init__(self) -> None:
        if not 0 < self.value < math.inf:
            raise ValueError(f"target {self.value:g}: must be positive and finite")
        if not 0.95 <= self.fill < 1:
            raise ValueError(f"fill {self.fill:g}: must lie in 0.95..1, below 1")

    @property
    def aim(self) -> float:
        """Measured value that a search aims at: log(bytes), a little below the ceiling, or the quality itself."""
        return math.log(max((1 + self.fill) / 2 * self.value - 2, 1)) if self.kind == "bytes" else self.value

    def met(self, measured: float) -> bool:
        """Tell whether a file of this log(bytes) or quality meets the goal."""
        if self.kind != "bytes":
            return abs(measured - self.value) <= TOLERANCES[self.kind]
        words = self.value // WORD_BYTES  # of the largest file below the ceiling
        return min(self.fill * self.value, WORD_BYTES * (words - 2)) <= round(math.exp(measured)) <= self.value

    def within(self, measured: float) -> bool:
        """Tell whether a file of this log(bytes) or quality is not above a ceiling, or not below a quality."""
        return round(math.exp(measured)) <= self.value if self.kind == "bytes" else measured >= self.value

    def nearer(self, a: float, b: float) -> bool:
        """Tell whether a measured value is nearer to the aim than another."""
        return abs(a - self.aim) < abs(b - self.aim)

    def acceptable(self, measured: float) -> bool:
        """Tell whether a file that misses the goal may be written where none meets it: up to 5 % below a ceiling."""
        return self.kind == "bytes" and 0.95 * self.value <= round(math.exp(measured)) <= self.value

    def between(self, a: float, b: float) -> bool:
        """Tell whether the aim lies strictly between two measured values."""
        return (a - self.aim) * (b - self.aim) < 0

    @property
    def slopes(self) -> Slopes:
        """Typical slopes, the first guess of the secant method."""
        slopes = {"bytes": Slopes(0.24, 0.3), "psnr": Slopes(1.2, 1.0), "ssimulacra2": Slopes(7.0, 6.0)}
        return slopes[self.kind]

    def out_of_reach(self, measured: float, quality: float, what: str = "the nearest") -> ConfigError:
        """Make the error that names the nearest file found, its size or its measured quality, and its level."""
        near = f"{math.exp(measured):.0f}" if self.kind == "bytes" else f"{measured:.2f}"
        unit = UNITS[self.kind]
        text = f"target {self.value:g} {unit}: out of reach; {what} is {near} {unit}, at quality {quality:.2f}"
        return ConfigError(text)
