"""Metrics that curves are compared on, each on a scale on which means and interpolation make sense.

The invariant: a value is finite and rises with quality, or it is None, as for files that reproduce their picture
exactly, whose PSNR is infinite.
"""

import math
from typing import NamedTuple, Protocol


class Scored(Protocol):
    """Scores of one file, each None where it has none."""

    @property
    def psnr_db(self) -> float | None:
        """PSNR in dB; None for identical pixels."""

    @property
    def ms_ssim(self) -> float | None:
        """MS-SSIM, at most 1."""

    @property
    def ssimulacra2(self) -> float | None:
        """SSIMULACRA 2 in points, at most 100."""

    @property
    def butteraugli(self) -> float | None:
        """3-norm of Butteraugli, 0 for identical pixels."""


class Metric(NamedTuple):
    """Name in JSON, title for readers, unit, and the reason why files may lack it."""

    name: str
    title: str
    unit: str
    lacking: str

    def of(self, file: Scored) -> float | None:
        """Return the value of a file: MS-SSIM as -10 log10(1 - MS-SSIM), Butteraugli as -20 log10(3-norm), in dB."""
        if file.psnr_db is None:
            return None
        if self.name == "psnr":
            return file.psnr_db
        if self.name == "ssimulacra2":
            return file.ssimulacra2
        if self.name == "butteraugli":
            return -20 * math.log10(file.butteraugli) if file.butteraugli else None
        return None if file.ms_ssim is None or file.ms_ssim >= 1 else -10 * math.log10(1 - file.ms_ssim)


PSNR = Metric("psnr", "PSNR", "dB", "they reproduce their pictures exactly")
MS_SSIM = Metric("ms_ssim", "MS-SSIM", "dB", "it needs sides of 161 pixels or more")
SSIMULACRA2 = Metric(
    "ssimulacra2",
    "SSIMULACRA 2",
    "points",
    "it needs sides of 8 pixels or more, and earlier releases did not record it",
)
BUTTERAUGLI = Metric(
    "butteraugli",
    "Butteraugli",
    "dB",
    "it needs sides of 8 pixels or more, and is taken of files that are tuned for eyes",
)
METRICS = (PSNR, MS_SSIM, SSIMULACRA2, BUTTERAUGLI)
SCALES = {MS_SSIM.name: "-10 log10(1 - MS-SSIM)", BUTTERAUGLI.name: "-20 log10(3-norm)"}  # of metrics turned into dB
