"""Protocol of a codec whose latents can be refined and written: all members that `rdo` and `codec.coding` use.

    x --analyse--> y, z --round on the grid--> y_hat, z_hat --synthesise--> x_hat
                                                    |
                                                 mixture --> y_bits, z_bits

The writer codes the symbols round(v - grid), integers, and the reader returns v_hat = round(v - grid) + grid. Our own
codec rounds to integers: its grid is zero. In others `grid` is the medians of z and the means predicted for y, so that
it moves with z and with the latents decoded before; `grid` runs as the decoder does and returns that shift.

Three layers: `Priced` decodes and prices latents, `Refinable` adds the analysis and the scale of quality, `AnyCodec`
adds the bitstream. A codec of your own subclasses `AnyCodec` (and `torch.nn.Module`), defines what is abstract, and
overrides the defaults that do not suit it; `codec.load("package.module:function")` then loads it. The invariant: what
differs between codecs is a method or a property here, and no caller tests the type of a codec.
"""

from abc import abstractmethod
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, STRIDE, Y_PER_Z, Metric, Shape, lmbda_of, on_header_grid
from codec.errors import ConfigError


class Latents(NamedTuple):
    """Latents y (B, M, H/16, W/16) and z (B, N_h, H/64, W/64), in quantisation steps; once rounded, on the grid."""

    y: Tensor
    z: Tensor


class Priced(Protocol):
    """Decoder and rate model of latents; `quality` is (B,)."""

    @property
    def depends_on_z(self) -> bool:
        """Tell whether the picture depends on z too: z moves the grid of y, or takes part in synthesis. Default: no."""
        return False

    def grid(self, latents: Latents, quality: Tensor) -> Latents:  # noqa: ARG002  (arguments are for overriding methods)
        """Return the grid's shift when these latents are coded, broadcastable to their shapes and without gradient.

        Default: zero, for rounding to integers.
        """
        return Latents(*(v.new_zeros(()) for v in latents))

    @abstractmethod
    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """Return x_hat (B, 3, H, W), nominally in [0, 1], not clamped."""

    @abstractmethod
    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> Any:
        """Return the entropy parameters of all y in one differentiable pass: a NamedTuple of tensors, for `y_bits`."""

    def shift(self, mixture: Any) -> Tensor:  # noqa: ARG002  (for overriding methods)
        """Return the shift of y's grid under these parameters, differentiable; used only where `depends_on_z`.

        Default: zero.
        """
        return torch.zeros(())

    @abstractmethod
    def y_bits(self, y: Tensor, mixture: Any) -> Tensor:
        """Return the bits of each y (B, M, h, w), on or off the grid, differentiable."""

    @abstractmethod
    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """Return the bits of each z (B, N_h, h/4, w/4), on or off the grid, differentiable."""


class Refinable(Priced, Protocol):
    """Frozen codec whose latents can be refined; `quality` tensors come from `level`.

    Attributes:
        config: frozen dataclass with a `name`; hashed with the weights into the model id.
    """

    config: Any

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return all weights and coding tables, which with `config` make the model id."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(iter(self.state_dict().values())).device

    @property
    def distortion(self) -> Metric:
        """Training objective. Default: mse."""
        return "mse"

    @property
    def stride(self) -> int:
        """Pixels that sides of pictures are padded to a multiple of. Default: 64."""
        return STRIDE

    @property
    def variable_rate(self) -> bool:
        """Tell whether every quality in 1..8 exists, else `default_quality` alone. Default: no."""
        return False

    @property
    def default_quality(self) -> float:
        """Quality used where a caller gives none; the only quality of a fixed-rate codec. Default: 4."""
        return 4.0

    @property
    def strip_rows(self) -> int:
        """Rows of y in a multiple of which `rdo.strips` may cut a picture to save memory; 0 (default) forbids it.

        It must be 0 unless a latent is predicted from, and decodes to, a bounded neighbourhood, and rows are dimension
        2 of every tensor of `mixture`.
        """
        return 0

    @property
    def tile_halo(self) -> int:
        """Pixels around a tile that its latents and its pixels are computed from; 0 (default): pictures are one tile.

        A multiple of 64: what lies further away changes neither by more than rounding errors, and what lies twice as
        far away has no influence at all. It must be 0 unless `stride` is 64, the grid is zero, and y and z have a
        position for each 16x16 and 64x64 pixels.
        """
        return 0

    @property
    def supports_bf16(self) -> bool:
        """Tell whether a search may run the networks under bfloat16 autocast on a GPU. Default: no."""
        return False

    def level(self, quality: float) -> Tensor:
        """Return the quality (1,) on the codec's device, rounded as the header of a file holds it.

        Raises:
            ConfigError: a quality that the codec does not have.
        """
        if self.variable_rate:
            if not QUALITY_FIRST <= quality <= QUALITY_LAST:
                raise ConfigError(f"quality {quality}: must lie between 1 (smallest file) and 8 (best picture)")
        elif quality != self.default_quality:
            raise ConfigError(
                f"quality {quality:g}: {self.config.name} has quality {self.default_quality:g} alone: "
                "leave --quality and targets out, or name another model"
            )
        return torch.tensor([on_header_grid(quality)], device=self.device)

    def lmbda_of(self, quality: float) -> float:
        """Return the weight of the distortion (on the scale of mse on 0..255) against bpp that suits a quality.

        Default: 0.002 * 29^((quality - 1) / 7).
        """
        return lmbda_of(quality)

    @property
    def gain_profile(self) -> int:
        """Index of the gain profile that the codec quantises by; 0 (default) is that of its training."""
        return 0

    @property
    def gain_profiles(self) -> int:
        """Number of gain profiles, sets of quantisation steps that the same weights code. Default: 1."""
        return 1

    @property
    def linear_profile(self) -> int | None:
        """Gain profile of which a linear transform alone analyses and decodes. Default: None, there is none.

        It shares the steps of profile 0: latents of either can be coded under the other.
        """
        return None

    def with_gain_profile(self, profile: int) -> Self:
        """Return the same codec with the quantisation steps of another profile. Default: there is none but 0.

        Raises:
            ConfigError: no such profile.
        """
        if profile:
            raise ConfigError(f"gain profile {profile}: {self.config.name} has none")
        return self

    @abstractmethod
    def latent_shapes(self, width: int, height: int) -> tuple[Shape, Shape]:
        """Return the shapes of y and z, batch 1, of a picture of width x height pixels."""

    @abstractmethod
    def analyse(self, x: Tensor, quality: Tensor) -> Latents:
        """Return the unrounded latents of x (B, 3, H, W) in [0, 1], sides multiples of `stride`."""

    def settled(self, latents: Latents, quality: Tensor) -> Latents:  # noqa: ARG002  (for overriding methods)
        """Return latents of `analyse` with others in place of those under which the entropy model goes astray.

        Default: the same.
        """
        return latents


class AnyCodec(Refinable, Protocol):
    """Codec that writes files: the latents' rate-distortion model and its entropy coder."""

    @property
    def slow_coder(self) -> bool:
        """Tell whether coding takes far longer than one `mixture`: searches then estimate bytes first. Default: no."""
        return False

    def check_ready(self) -> None:
        """Raise where coding tables are missing. Default: never.

        Raises:
            ConfigError: the codec was never made ready to code.
        """
        return

    def check_stream_length(self, words: int, width: int, height: int) -> None:  # noqa: ARG002
        """Raise where so few words cannot hold a picture of this size, before memory is taken. Default: never.

        Raises:
            BitstreamError: the stream is too short.
        """
        return

    @abstractmethod
    def to_words(self, latents: Latents, quality: Tensor) -> NDArray[np.uint32]:
        """Return the coded stream, 32-bit words, of rounded latents of batch 1."""

    @abstractmethod
    def from_words(self, words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> Latents:
        """Return the rounded latents, batch 1, of a picture of width x height pixels.

        Raises:
            BitstreamError: a stream that this codec did not write.
        """


def unrounded_latents(codec: Refinable, x: Tensor, quality: Tensor) -> Latents:
    """Return the latents of padded images x (B, 3, H, W) that plain encoding rounds and that refinement starts from."""
    return codec.settled(codec.analyse(x, quality), quality)


def rate(codec: Priced, latents: Latents, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bits of rounded y and of z, (B,) each."""
    y_bits = codec.y_bits(latents.y, codec.mixture(latents.y, latents.z, quality))
    return y_bits.sum((1, 2, 3)), codec.z_bits(latents.z, quality).sum((1, 2, 3))


def bit_map(codec: Priced, latents: Latents, quality: Tensor) -> Tensor:
    """Return the bits spent on each 16x16 pixels, (B, H/16, W/16); those of a z are spread evenly over its 64x64."""
    y_bits = codec.y_bits(latents.y, codec.mixture(latents.y, latents.z, quality)).sum(1)
    z_bits = codec.z_bits(latents.z, quality).sum(1).repeat_interleave(Y_PER_Z, 1).repeat_interleave(Y_PER_Z, 2)
    return y_bits + z_bits / Y_PER_Z**2


def rounded(latents: Latents, grid: Latents) -> Latents:
    """Return the latents on the grid nearest to `latents`, as a plain encoder writes them."""
    return Latents(*((v - g).round() + g for v, g in zip(latents, grid, strict=True)))
