"""Error of pictures to the eye, a mix of two metrics: what games one of them is seen by the other.

    V = (1 - w) k_s raw(x_hat, x) + w k_b norm(x_hat, x)        w = WITNESS_SHARE

`raw` is SSIMULACRA 2's error, `norm` Butteraugli's at half size, both 0 for identical pictures. The factors k are
VISUAL_WEIGHT * mse / error of a first encoding of each picture, so that V is on the scale of its mse over 0..255, and
lambda and quality keep their meaning on pictures of every kind.
"""

from typing import NamedTuple

from torch import Tensor

from codec.metrics import butteraugli, ssimulacra2

VISUAL_WEIGHT = 1.4  # of the eye's metrics against the mse they stand for; best of 0.7, 1, 1.4 and 2 on tuning photos
WITNESS_SHARE = 1 / 3  # of Butteraugli in V; larger ones gain less in it than they lose in SSIMULACRA 2
ERROR_MIN = 1e-4  # of plain encoding; below it SSIMULACRA 2 is over 99.9 and nothing is left to gain


class VisualErrors(NamedTuple):
    """Errors of pictures to the eye, `raw` of SSIMULACRA 2 and `norm` of Butteraugli, or their factors k; (B,) each."""

    scored: Tensor
    witnessed: Tensor

    def scales(self, mse: Tensor) -> "VisualErrors":
        """Return the factors k of pictures whose plain encodings have these errors and this mse (B,) on 0..255."""
        return VisualErrors(*(VISUAL_WEIGHT * mse / error.clamp(min=ERROR_MIN) for error in self))

    def mixed(self, scales: "VisualErrors") -> Tensor:
        """Return V (B,), the errors mixed by factors k."""
        return (1 - WITNESS_SHARE) * scales.scored * self.scored + WITNESS_SHARE * scales.witnessed * self.witnessed


class VisualReference(NamedTuple):
    """Originals as SSIMULACRA 2 sees them, and Butteraugli at half size."""

    scored: tuple[ssimulacra2.Planes, ...]
    witnessed: tuple[butteraugli.Reference, ...]

    @classmethod
    def of(cls, x: Tensor) -> "VisualReference":
        """Prepare originals x (B, 3, H, W) in [0, 1].

        Raises:
            ConfigError: they are too small for the metrics.
        """
        return cls(ssimulacra2.prepare(x), butteraugli.prepare(x, halvings=(1,)))

    def errors(self, x_hat: Tensor) -> VisualErrors:
        """Compute the errors (B,) of x_hat (B, 3, H, W), differentiable."""
        return VisualErrors(ssimulacra2.raw(x_hat, self.scored), butteraugli.norm(x_hat, self.witnessed))

    def of_images(self, chosen: list[int]) -> "VisualReference":
        """Return some of the originals."""
        scored = tuple(planes.of_images(chosen) for planes in self.scored)
        return VisualReference(scored, tuple(size.of_images(chosen) for size in self.witnessed))
