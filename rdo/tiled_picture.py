"""Picture of several tiles and its cost, as a whole and tile by tile.

The cost of a tile counts its own bits, as each tile is coded alone, and the distortion of its pixels and of those
`MARGIN_PX` around it, which its latents change too. The invariant: the distortion of the picture is the mean of that of
its tiles, by pixels, each measured as a picture of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codec.arithmetic import coding_arithmetic
from codec.bitstream.parallel import side_by_side
from codec.bitstream.tiles import Rect, tiles_of
from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor
from codec.interface import AnyCodec, Latents, Priced, rate, unrounded_latents
from codec.latents import cut, part_of, tile_latents
from codec.metrics.visual import VisualReference
from codec.tiling import pixels_of, plain_latents_of
from rdo.config import RefineConfig
from rdo.distortion import Distortion
from rdo.memory import within_memory
from rdo.objective import Cost, Problem
from rdo.starts import HARD_RATIO, linear_starts

MARGIN_PX = 32  # a latent changes pixels further away by less than a level


@dataclass(frozen=True)
class TiledPicture:
    """Picture of several tiles, to be refined by a codec at a quality.

    Attributes:
        codec: frozen codec, with a `tile_halo`.
        pixels: original.
        tile: side of the tiles in pixels.
        level: quality (1,), as the codec's `level` returns it.
        lmbda: weight of the distortion against bits per pixel.
        metric: distortion, fitted to the picture; its weights are of the whole picture.
    """

    codec: AnyCodec
    pixels: Pixels
    tile: int
    level: Tensor
    lmbda: float
    metric: Distortion

    @property
    def whole(self) -> Rect:
        """Rectangle of the picture."""
        return Rect(0, 0, self.pixels.width, self.pixels.height)

    @property
    def tiles(self) -> list[Rect]:
        """Tiles of the picture."""
        return tiles_of(*self.whole.size, self.tile)

    def at_quality(self, quality: float) -> "TiledPicture":
        """Return the picture, to be refined at a quality under the lmbda of that quality."""
        return replace(self, level=self.codec.level(quality), lmbda=self.codec.lmbda_of(quality))

    def problem(self, latents: Latents, tile: Rect, config: RefineConfig) -> Problem:
        """Return the problem of refining one tile, while the latents of the others stay as they are."""
        counted = tile.grown(MARGIN_PX, *self.whole.size)
        around = tile.grown(self.codec.tile_halo, *self.whole.size)
        x = self._x(counted)
        whole = part_of(latents, self.whole, around)
        codec = within_memory(self.codec, torch.Size((1, 3, around.height, around.width)), config)
        decoder = TileDecoder(codec, whole, _moved(tile, around), _moved(counted, around), _moved(around, around))
        lmbda = torch.full_like(self.level, self.lmbda)
        offset = tile.left - counted.left, tile.top - counted.top
        return Problem(decoder, x, self.level, lmbda, self._metric(x, counted), offset)

    def analysed(self, tile: Rect) -> Latents:
        """Return the latents of a tile as they are before they are rounded."""
        around = tile.grown(self.codec.tile_halo, *self.whole.size)
        latents = unrounded_latents(self.codec, pad(self._x(around), self.codec.stride), self.level)
        return part_of(latents, around, tile)

    def plain(self) -> Latents:
        """Return the rounded latents of plain encoding, as int16 (`codec.latents`)."""
        with coding_arithmetic():
            return plain_latents_of(self.codec, self.pixels, self.level, self.tile)

    def with_best_profile(self, profiles: tuple[int, ...], is_hard: bool) -> "TiledPicture":
        """Return the picture with the codec of that gain profile whose plain encoding has the lowest cost.

        Args:
            is_hard: whether to try the linear profile, too.
        """
        linear = self.codec.linear_profile
        if linear is not None and linear not in profiles and is_hard:
            profiles += (linear,)
        pictures = [replace(self, codec=self.codec.with_gain_profile(profile)) for profile in profiles]
        if len(pictures) == 1:
            return pictures[0]
        return min(pictures, key=lambda picture: float(picture.cost(picture.plain()).total))

    def is_hard(self, plain: Latents, distortion: float) -> bool:
        """Tell whether the linear path decodes plain latents about as well as the networks do, as in `rdo.starts`.

        Args:
            distortion: of what the networks decode from them.
        """
        linear = self.codec.linear_profile
        if linear is None or linear == self.codec.gain_profile:
            return False
        by_linear = replace(self, codec=self.codec.with_gain_profile(linear))
        return by_linear.distortion_of(plain) <= HARD_RATIO * distortion

    def along_linear_path(self) -> list["TileStart"]:
        """Return the starts of a picture that is hard for the networks, those of `rdo.starts` but plain encoding."""

        def analyse(codec: AnyCodec) -> Latents:
            return replace(self, codec=codec).plain()

        return [TileStart(replace(self, codec=codec), latents) for codec, latents in linear_starts(self.codec, analyse)]

    def cost(self, latents: Latents) -> Cost:
        """Return the cost (1,) of rounded latents of the whole picture, by the model's estimate of the rate."""
        with coding_arithmetic():
            parts = tile_latents(latents, *self.whole.size, self.tile)
            bits = sum(float(sum(rate(self.codec, part, self.level))) for part in parts)
        bpp, distortion = bits / (self.pixels.width * self.pixels.height), self.distortion_of(latents)
        values = bpp + self.lmbda * distortion, bpp, distortion
        return Cost(*(torch.full_like(self.level, value) for value in values))

    def decoded(self, latents: Latents) -> Pixels:
        """Decode latents to 8-bit pixels, as a reader of the file does."""
        with coding_arithmetic():
            return pixels_of(self.codec, latents, self.level, self.pixels, self.tile)

    def distortion(self, decoded: Pixels) -> float:
        """Return the distortion of decoded 8-bit pixels: the mean of that of the tiles, by pixels."""
        return float(self._mean(partial(self._x, pixels=decoded), self._distortion_of_tile))

    def distortion_of(self, latents: Latents) -> float:
        """Return the distortion of what a reader decodes from latents, of which no more than a few tiles are held."""
        return float(self._mean(partial(self._x_hat, latents), self._distortion_of_tile))

    def fitted(self, plain: Latents) -> "TiledPicture":
        """Return the picture with its metric fitted by its plain latents, unless it was before.

        The factors of `Distortion.scaled` are the same for all tiles.
        """
        if self.metric.is_fitted:
            return self
        decoded = self.metric.with_exact_pixels(self.decoded(plain), self.pixels)
        errors = self._mean(partial(self._x, pixels=decoded), lambda x_hat, x, tile: self.metric.errors(x_hat, x))
        return replace(self, metric=self.metric.scaled(errors))

    def _mean(self, x_hat_of: Callable[[Rect], Tensor], measure: Callable[[Tensor, Tensor, Rect], Tensor]) -> Tensor:
        """Return the mean over all tiles, by pixels, of what `measure` gives for decoded and original pixels."""

        def weighed(tile: Rect) -> Any:
            values = measure(x_hat_of(tile), self._x(tile), tile).double() * tile.width * tile.height
            return values.tolist()  # as small tensors among the large ones would keep the allocator from joining these

        with coding_arithmetic():
            sums = torch.tensor(side_by_side(weighed, self.tiles, self.level.device), dtype=torch.float64)
        return (sums.sum(0) / (self.pixels.width * self.pixels.height)).float().to(self.level.device)

    def _distortion_of_tile(self, x_hat: Tensor, x: Tensor, tile: Rect) -> Tensor:
        return self._metric(x, tile)(x_hat, x)

    def _metric(self, x: Tensor, part: Rect) -> Distortion:
        """Return the metric of a part of the picture, whose pixels are x."""
        weight, reference = self.metric.weight, None
        if weight is not None:
            weight = weight[..., part.top : part.bottom, part.left : part.right]
        if self.metric.visual_share:
            reference = VisualReference.of(x)
        exact = self.metric.exact
        if exact is not None:
            exact = exact[..., part.top : part.bottom, part.left : part.right]
        return replace(self.metric, weight=weight, exact=exact, reference=reference)

    def _x(self, part: Rect, pixels: Pixels | None = None) -> Tensor:
        """Return a part of the picture, or of another one, as a tensor (1, 3, H, W)."""
        data = (pixels or self.pixels).data[part.top : part.bottom, part.left : part.right]
        return to_tensor(Pixels(data, self.pixels.grey)).to(self.level.device)

    def _x_hat(self, latents: Latents, tile: Rect) -> Tensor:
        """Decode a tile of the latents of the whole picture to pixels (1, 3, H, W) of 8 bits."""
        around = tile.grown(self.codec.tile_halo, *self.whole.size)
        own = part_of(latents, self.whole, around)
        x_hat = self.codec.synthesise(own, self.level)[..., tile.top - around.top :, tile.left - around.left :]
        pixels = from_tensor(crop(x_hat, tile.height, tile.width), self.pixels.grey)
        return to_tensor(pixels).to(self.level.device)


class TileStart(NamedTuple):
    """Picture, with the codec that codes it, and the rounded latents that a refinement of it begins with."""

    picture: TiledPicture
    latents: Latents

    @property
    def cost(self) -> float:
        """Cost, by the model's estimate of the rate."""
        return float(self.picture.cost(self.latents).total)

    def or_along_linear_path(self) -> "TileStart":
        """Return the cheapest of this start and those along the linear path."""
        return min([self, *self.picture.along_linear_path()], key=lambda each: each.cost)


@dataclass(frozen=True)
class TileDecoder(Priced):
    """Codec that decodes one tile among the given latents of its neighbours, and prices the tile alone.

    Its grid is zero, as that of every codec with a `tile_halo`.

    Attributes:
        codec: codec of the tile.
        latents: of the tile and its halo; those of the tile are replaced.
        own: the tile, within its halo, in pixels.
        shown: pixels to return, within the halo.
        around: the tile and its halo, at the origin.
    """

    codec: Priced
    latents: Latents
    own: Rect
    shown: Rect
    around: Rect

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """Decode the tile's latents among its neighbours' to the pixels shown (1, 3, H, W), not clamped."""
        joined = Latents(*(v.clone() for v in self.latents))
        for target, own in zip(cut(joined, self.around, self.own), latents, strict=True):
            target.copy_(own)
        x_hat = self.codec.synthesise(joined, quality)
        return x_hat[..., self.shown.top : self.shown.bottom, self.shown.left : self.shown.right]

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> Any:
        """Predict the entropy parameters of the tile's y, as those of a picture of its own."""
        return self.codec.mixture(y_hat, z_hat, quality)

    def y_bits(self, y: Tensor, mixture: Any) -> Tensor:
        """Compute the bits of each y."""
        return self.codec.y_bits(y, mixture)

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """Compute the bits of each z."""
        return self.codec.z_bits(z, quality)


def _moved(part: Rect, origin: Rect) -> Rect:
    """Return a rectangle relative to the top left corner of another."""
    left, top = origin.left, origin.top
    return Rect(part.left - left, part.top - top, part.right - left, part.bottom - top)
