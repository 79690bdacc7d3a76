"""Measurement of files against a goal: the written file's bytes, or the quality of its decoded 8-bit pixels."""

import math
from typing import NamedTuple

import torch

from codec.bitstream.container import HEADER_BYTES
from codec.coding import write
from codec.errors import ConfigError
from codec.images.pixels import Pixels
from codec.interface import AnyCodec, Latents, rate, rounded
from codec.latents import tile_latents
from codec.metrics.psnr import mse, psnr_db_of_mse
from codec.metrics.ssimulacra2 import ssimulacra2
from codec.tiling import pixels_of, plain_latents_of
from rdo.distortion import MSE, Distortion
from rdo.schedules import Clock
from rdo.target import Goal

BISECTIONS_MAX = 8
WRITTEN_PIXELS_MAX = 1 << 16  # of pictures so small that a file is written quickly, and estimates may be off by 15 %


class Candidate(NamedTuple):
    """Rounded latents, and the measured value of their file: log(bytes), dB or points."""

    latents: Latents
    measured: float


class Measurement(NamedTuple):
    """Measurement of files of one image, in the unit of a goal; its fields stay fixed during a target search.

    Attributes:
        codec: frozen codec.
        pixels: original.
        goal: bytes, PSNR or score; its kind decides what is measured.
        clock: seconds since the target search began, and the budget of all its runs.
        tile: side of the tiles of the file, 0 for one.
        metric: distortion that is minimised, which knows exact pixels.
    """

    codec: AnyCodec
    pixels: Pixels
    goal: Goal
    clock: Clock
    tile: int = 0
    metric: Distortion = MSE

    @torch.no_grad()
    def measure(self, latents: Latents, quality: float) -> float:
        """Write the file and return its log(bytes), or decode it and return its PSNR in dB or its score."""
        original = self.pixels
        width, height = original.width, original.height
        if self.goal.kind == "bytes":
            data = write(
                self.codec, latents, width=width, height=height, quality=quality, grey=original.grey, tile=self.tile
            )
            return math.log(len(data))
        decoded = pixels_of(self.codec, latents, self.codec.level(quality), original, self.tile)
        decoded = self.metric.with_exact_pixels(decoded, original)
        if self.goal.kind == "ssimulacra2":
            score = ssimulacra2(original, decoded)
            if score is None:
                raise ConfigError(f"--target-ssimulacra2: {width}x{height} pixels are too small for SSIMULACRA 2")
            return score
        return psnr_db_of_mse(max(1e-9, mse(original, decoded)))

    @torch.no_grad()
    def measure_plain(self, quality: float) -> float:
        """Return log(bytes) or PSNR of plain encoding at a quality.

        Where the entropy coder is slow, as our own is, bytes are the model's estimate, which is close to them; a codec
        with a quick coder writes the file.
        """
        level, (width, height) = self.codec.level(quality), (self.pixels.width, self.pixels.height)
        latents = plain_latents_of(self.codec, self.pixels, level, self.tile)
        if self.goal.kind != "bytes" or not self.codec.slow_coder or width * height <= WRITTEN_PIXELS_MAX:
            return self.measure(latents, quality)
        parts = tile_latents(latents, width, height, self.tile)
        bits = sum(float(sum(rate(self.codec, part, level))) for part in parts)
        return math.log(bits / 8 + HEADER_BYTES)

    def candidate(self, latents: Latents, quality: float) -> Candidate:
        """Measure latents; return both."""
        return Candidate(latents, self.measure(latents, quality))

    def interpolate(self, before: Candidate, after: Candidate, quality: float) -> Candidate:
        """Interpolate between two candidates on either side of the goal.

        A fraction of the latents, at random places, comes from `after`, the others from `before`; bisection finds the
        fraction.

        Returns:
            The first mix that meets the goal; if BISECTIONS_MAX mixes do not, the last one that measures below the aim.
        """
        generator = torch.Generator(self.codec.device).manual_seed(0)
        # a latent comes from `after` where its threshold is below the fraction
        thresholds = Latents(*(torch.rand(v.shape, generator=generator, device=v.device) for v in before.latents))
        rising = after.measured > self.goal.aim  # whether the measured value rises with the fraction
        low, high = 0.0, 1.0
        below = before if rising else after
        for _ in range(BISECTIONS_MAX):
            fraction = (low + high) / 2
            terms = zip(thresholds, after.latents, before.latents, strict=True)
            mixed = Latents(*(torch.where(t < fraction, a, b) for t, a, b in terms))
            mixed = rounded(mixed, self.codec.grid(mixed, self.codec.level(quality)))  # z may move the grid of y
            candidate = self.candidate(mixed, quality)
            if self.goal.met(candidate.measured):
                return candidate
            above = candidate.measured > self.goal.aim
            low, high = (low, fraction) if above == rising else (fraction, high)
            below = below if above else candidate
        return below
