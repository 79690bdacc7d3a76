"""Conversion of decoded samples to 8-bit opaque sRGB, from the colour space that their file states.

Invariant: samples that are 8-bit sRGB already come out bit-exact. Profiles of matrix and curves are applied to deep
samples before these are rounded, and those of one curve to grey; others, and those of 8-bit colour, by LittleCMS.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from codec.errors import ImageError
from codec.images.depth import Raster, round_levels
from codec.images.icc import colour_space, matrix_space
from codec.images.orientation import empty_for
from codec.images.pixels import Pixels, Samples
from codec.images.rgb_space import Levels, converter, is_srgb
from codec.images.rows import band_of, bands
from codec.images.stated_colour import StatedColour

_ICC_TOLERANCE = 2  # levels; sRGB profiles differ by rounding, Display P3 and Adobe RGB by tens of levels
_CHART_LEVELS = (0, 4, 16, 32, 64, 96, 128, 160, 192, 224, 255)  # of each channel, to try a profile on
_NARROW_BLACK, _NARROW_RANGE = 16, 219  # of 256, in video


class Coloured(NamedTuple):
    """Samples (H, W, 3) of 8 bits, and the ICC profile that they keep; sRGB where that is empty."""

    data: Samples
    profile: bytes = b""


def coloured(
    picture: Image.Image | Raster,
    colour: StatedColour,
    *,
    grey: bool,
    ignore_icc: bool,
    keep: bool,
    orientation: int = 1,
    notes: list[str],
) -> Coloured:
    """Return the samples of a picture in sRGB, or under `keep` in the space of a valid profile, without alpha.

    Args:
        picture: loaded picture of 8-bit samples, or deep ones.
        colour: what its file states.
        grey: whether the picture has one channel.
        ignore_icc: take samples as sRGB where a profile cannot be applied.
        orientation: of EXIF, by which the samples are to be turned later: they lie in memory accordingly.
        notes: is told what was ignored.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    if colour.profile is not None:
        try:
            return _by_profile(
                _Source(picture, grey, ("CMYK", "LAB")), colour.profile, keep=keep, orientation=orientation
            )
        except ImageError as error:
            if not ignore_icc:
                raise
            notes.append(f"taken as sRGB: {str(error).partition(': ')[0]}")
    source = _Source(picture, grey, ("LAB",))
    if source.mode == "LAB":
        convert = _applied(source, _transform(b"", "LAB", grey))
    elif colour.space is None or is_srgb(colour.space):
        convert = partial(round_levels, top=source.top)
    else:
        convert = converter(source.top, colour.space)
    if colour.is_narrow:
        table = _widening(source.top)
        return Coloured(source.gathered(lambda levels: convert(table[levels]), orientation))
    return Coloured(source.gathered(convert, orientation))


class _Source(NamedTuple):
    """Decoded picture that is converted some rows at a time, so that no other copy of it is made than the result.

    Attributes:
        picture, grey: those of `coloured`.
        natives: modes of Pillow, besides L and RGB, that bands of rows may have.
    """

    picture: Image.Image | Raster
    grey: bool
    natives: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """Pillow's mode of the bands."""
        own = self.picture.mode if isinstance(self.picture, Image.Image) else ""
        return own if own in self.natives else "L" if self.grey else "RGB"

    @property
    def top(self) -> int:
        """Level of white."""
        return self.picture.top if isinstance(self.picture, Raster) else 255

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        if isinstance(self.picture, Raster):
            return self.picture.levels.shape[0], self.picture.levels.shape[1]
        return self.picture.height, self.picture.width

    def levels(self, rows: slice) -> Levels:
        """Return the levels of some rows, (h, W) if grey, else (h, W, channels)."""
        if isinstance(self.picture, Raster):
            return self.picture.levels[rows]
        return band_of(self.picture, rows, self.mode)

    def gathered(self, convert: Callable[[Levels], Samples], orientation: int) -> Samples:
        """Return the samples (H, W, 3) that `convert` makes of levels."""
        samples = empty_for(*self.size, orientation)
        for rows in bands(*self.size):
            part = convert(self.levels(rows))
            samples[rows] = part[..., None] if part.ndim == 2 else part
        return samples


def _widening(top: int) -> NDArray[np.uint16]:
    """Return for each level of video, whose black is 16 and white 235 of 256, that in the whole range."""
    unit = (top + 1) / 256
    spread = (np.arange(top + 1) - _NARROW_BLACK * unit) * (top / (_NARROW_RANGE * unit))
    return np.rint(np.clip(spread, 0, top)).astype(np.uint16)


def _by_profile(source: _Source, profile: bytes, *, keep: bool, orientation: int = 1) -> Coloured:
    """Return samples converted by an ICC profile, or unconverted with it under `keep`."""
    transform = _transform(profile, source.mode, source.grey)  # raises where the profile does not apply
    as_is = partial(round_levels, top=source.top)
    if transform is None:
        return Coloured(source.gathered(as_is, orientation))
    if keep and colour_space(profile) == {"L": "GRAY", "RGB": "RGB"}.get(source.mode):
        return Coloured(source.gathered(as_is, orientation), profile)
    fits = colour_space(profile) == ("GRAY" if source.grey else "RGB")
    space = matrix_space(profile) if fits and (source.grey or source.top > 255) else None
    convert = _applied(source, transform) if space is None else converter(source.top, space)
    return Coloured(source.gathered(convert, orientation))


def _applied(source: _Source, transform: ImageCms.ImageCmsTransform | None) -> Callable[[Levels], Samples]:
    """Return the function that turns levels of a picture into samples, of one channel if it is grey."""
    assert transform is not None

    def convert(levels: Levels) -> Samples:
        size = levels.shape[1], levels.shape[0]
        image = Image.frombytes(source.mode, size, round_levels(levels, source.top).tobytes())
        converted = transform.apply(image.convert(transform.input_mode))
        return np.asarray(converted.convert("L") if source.grey else converted)

    return convert


def _transform(icc: bytes, mode: str, grey: bool) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from an ICC profile to sRGB with perceptual intent, for pictures of a mode.

    Args:
        icc: not used for LAB.
        grey: whether pictures are grey, which may have a profile for RGB.

    Returns:
        None where it is sRGB.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        lab = ImageCms.createProfile("LAB") if mode == "LAB" else None
        profile = ImageCms.ImageCmsProfile(lab or io.BytesIO(icc))
        own = "RGB" if grey and profile.profile.xcolor_space == "RGB " else mode
        transform = ImageCms.ImageCmsTransform(profile, srgb, own, "RGB", ImageCms.Intent.PERCEPTUAL)
    except (OSError, TypeError, ValueError) as error:
        what = f"ICC profile of {len(icc)} bytes is damaged or not for mode {mode} ({error})"
        mend = "pass --ignore-icc to take the samples as sRGB, or embed the right profile"
        raise ImageError(f"{what}: {mend}") from error
    return None if own in ("L", "RGB") and _is_identity(transform, own) else transform


def with_profile(image: Image.Image, profile: bytes) -> Coloured:
    """Return the samples of an image of mode L or RGB, and the ICC profile that they keep; sRGB needs none.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    source = _Source(image, image.mode == "L")
    if not profile:
        return Coloured(source.gathered(partial(round_levels, top=255), 1))
    return _by_profile(source, profile, keep=True)


def profile_name(profile: bytes) -> str:
    """Return the description in an ICC profile, `damaged` where it has none that can be read."""
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (OSError, ImageCms.PyCMSError):
        return "damaged"


def convert_by_profile(pixels: Pixels, profile: bytes) -> Pixels:
    """Return pixels in sRGB, given those in the space of an ICC profile.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    raster = Raster(pixels.data[..., 0] if pixels.grey else pixels.data, 255, None)
    return Pixels(_by_profile(_Source(raster, pixels.grey), profile, keep=False).data, pixels.grey)


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether a transform moves no colour of a chart by more than the tolerance.

    The profile's description is no guide: "linear sRGB" has sRGB in its name.
    """
    count = len(_CHART_LEVELS)
    colours = np.meshgrid(*3 * (np.array(_CHART_LEVELS, dtype=np.uint8),))
    chart = Image.fromarray(np.stack(colours, axis=-1).reshape(count, count**2, 3)).convert(mode)
    change = np.asarray(transform.apply(chart), np.int16) - np.asarray(chart.convert("RGB"), np.int16)
    return bool(np.abs(change).max() <= _ICC_TOLERANCE)


def blend_over_white(rgb: Samples, alpha: Samples) -> Samples:
    """Return `rgb` (H, W, 3), changed in place, composited over white by `alpha` (H, W), to the nearest level."""
    for rows in bands(*alpha.shape):
        weight = alpha[rows, :, None].astype(np.uint16)  # 255 * 255 + 127 still fits 16 bits
        rgb[rows] = (rgb[rows] * weight + 255 * (255 - weight) + 127) // 255
    return rgb
