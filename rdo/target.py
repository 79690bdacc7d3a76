"""What a refined file is to measure: a ceiling of bytes, or decibels. `rdo.target_search` seeks it.

Bytes are measured as log(bytes), which like PSNR is near linear in quality.
"""

import math
from dataclasses import dataclass
from typing import Literal

from codec.errors import ConfigError

Kind = Literal["bytes", "psnr"]
WORD = 4  # bytes that a file grows by


@dataclass(frozen=True)
class Goal:
    """What the file shall measure: a `psnr` in dB, to 0.05; or `bytes` at most, and less by at most 1 % or two words.

    A picture that needs fewer bytes at the highest quality gets that. A file grows by words of four bytes, and one
    latent of a small picture may be worth several: where 1 % cannot be met, a file up to 5 % below the ceiling will do.
    """

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        if not 0 < self.value < math.inf:
            raise ValueError(f"target {self.value:g}: must be positive and finite")

    @property
    def aim(self) -> float:
        """What is aimed at, on the scale of `measure`; a ceiling is aimed at from below."""
        return math.log(max(0.995 * self.value - 2, 1)) if self.kind == "bytes" else self.value

    def met(self, measured: float) -> bool:
        """Whether a measured file is good enough."""
        if self.kind == "psnr":
            return abs(measured - self.value) <= 0.05
        words = self.value // WORD  # of the largest file below the ceiling
        return min(0.99 * self.value, WORD * (words - 2)) <= round(math.exp(measured)) <= self.value

    def will_do(self, measured: float) -> bool:
        """Whether a measured file is better than none."""
        return self.kind == "bytes" and 0.95 * self.value <= round(math.exp(measured)) <= self.value

    @property
    def slopes(self) -> tuple[float, float]:
        """First guess of the rise of what is measured with quality, and with log(lmbda) at a quality."""
        return (0.24, 0.3) if self.kind == "bytes" else (1.2, 1.0)

    def out_of_reach(self, measured: float, quality: float, what: str = "the nearest") -> ConfigError:
        """That nothing meets it, and what comes nearest."""
        near, unit = (f"{math.exp(measured):.0f}", "bytes") if self.kind == "bytes" else (f"{measured:.2f}", "dB")
        told = f"target {self.value:g} {unit}: out of reach; {what} is {near} {unit}, at quality {quality:.2f}"
        return ConfigError(told)
