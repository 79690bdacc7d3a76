"""Conversion of decoded samples to 8-bit opaque sRGB, from the colour space that their file states.

Invariant: samples that are 8-bit sRGB already come out bit-exact. Profiles of matrix and curves are applied to deep
samples before these are rounded, and those of one curve to grey; others, and those of 8-bit colour, by LittleCMS.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from codec.errors import ImageError
from codec.images.depth import Raster, round_levels
from codec.images.icc import colour_space, matrix_space
from codec.images.pixels import Pixels, Samples
from codec.images.rgb_space import Levels, convert_to_srgb, is_srgb
from codec.images.stated_colour import StatedColour

_ICC_TOLERANCE = 2  # levels; sRGB profiles differ by rounding, Display P3 and Adobe RGB by tens of levels
_CHART_LEVELS = (0, 4, 16, 32, 64, 96, 128, 160, 192, 224, 255)  # of each channel, to try a profile on
_NARROW_BLACK, _NARROW_RANGE = 16, 219  # of 256, in video


class Coloured(NamedTuple):
    """Samples (H, W, 3) of 8 bits, and the ICC profile that they keep; sRGB where that is empty."""

    data: Samples
    profile: bytes = b""


def coloured(
    picture: Image.Image | Raster, colour: StatedColour, *, grey: bool, ignore_icc: bool, keep: bool, notes: list[str]
) -> Coloured:
    """Return the samples of a picture in sRGB, or under `keep` in the space of a valid profile, without alpha.

    Args:
        picture: loaded picture of 8-bit samples, or deep ones.
        colour: what its file states.
        grey: whether the picture has one channel.
        ignore_icc: take samples as sRGB where a profile cannot be applied.
        notes: is told what was ignored.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    if colour.profile is not None:
        try:
            return _by_profile(picture, colour.profile, grey=grey, keep=keep)
        except ImageError as error:
            if not ignore_icc:
                raise
            notes.append(f"taken as sRGB: {str(error).partition(': ')[0]}")
    levels, top = _levels(picture, grey)
    if colour.is_narrow:
        levels = _widened(levels, top)
    if colour.space is None or is_srgb(colour.space):
        return Coloured(_three_channels(round_levels(levels, top)))
    return Coloured(_three_channels(convert_to_srgb(levels, top, colour.space)))


def _levels(picture: Image.Image | Raster, grey: bool) -> tuple[Levels, int]:
    """Return levels, (H, W) if grey, else (H, W, 3), and that of white."""
    if isinstance(picture, Raster):
        return picture.levels, picture.top
    if picture.mode == "LAB":
        return np.asarray(_converted(picture, b"", False)), 255
    return np.asarray(picture.convert("L" if grey else "RGB")), 255


def _widened(levels: Levels, top: int) -> Levels:
    """Return levels of video, whose black is 16 and white 235 of 256, spread over the whole range."""
    unit = (top + 1) / 256
    spread = (np.arange(top + 1) - _NARROW_BLACK * unit) * (top / (_NARROW_RANGE * unit))
    return np.rint(np.clip(spread, 0, top)).astype(np.uint16)[levels]


def _by_profile(picture: Image.Image | Raster, profile: bytes, *, grey: bool, keep: bool) -> Coloured:
    """Return samples converted by an ICC profile, or unconverted with it under `keep`."""
    if isinstance(picture, Raster):
        image = Image.fromarray(round_levels(picture.levels, picture.top))
    else:
        image = picture if picture.mode in ("CMYK", "LAB") else picture.convert("L" if grey else "RGB")
    converted = _converted(image, profile, grey)  # raises where the profile does not apply
    if converted is image:
        return Coloured(_three_channels(np.asarray(image)))
    if keep and colour_space(profile) == {"L": "GRAY", "RGB": "RGB"}.get(image.mode):
        return Coloured(_three_channels(np.asarray(image)), profile)
    fits = colour_space(profile) == ("GRAY" if grey else "RGB")
    space = matrix_space(profile) if fits and (grey or isinstance(picture, Raster)) else None
    if space is not None:
        levels, top = _levels(picture, grey)
        return Coloured(_three_channels(convert_to_srgb(levels, top, space)))
    return Coloured(_three_channels(np.asarray(converted)))


def _three_channels(samples: Samples) -> Samples:
    """Return samples (H, W, 3), in memory of their own, of grey ones (H, W) or coloured ones (H, W, 3)."""
    return np.repeat(samples[..., None], 3, axis=2) if samples.ndim == 2 else np.array(samples)


def _converted(image: Image.Image, icc: bytes, grey: bool) -> Image.Image:
    """Return `image`, itself if it is sRGB, converted by an ICC profile with perceptual intent to mode L or RGB.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        lab = ImageCms.createProfile("LAB") if image.mode == "LAB" else None
        profile = ImageCms.ImageCmsProfile(lab or io.BytesIO(icc))
        mode = "RGB" if grey and profile.profile.xcolor_space == "RGB " else image.mode
        transform = ImageCms.ImageCmsTransform(profile, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
    except (OSError, TypeError, ValueError) as error:
        what = f"ICC profile of {len(icc)} bytes is damaged or not for mode {image.mode} ({error})"
        mend = "pass --ignore-icc to take the samples as sRGB, or embed the right profile"
        raise ImageError(f"{what}: {mend}") from error
    if mode in ("L", "RGB") and _is_identity(transform, mode):
        return image
    converted = transform.apply(image.convert(mode))
    return converted.convert("L") if grey else converted


def with_profile(image: Image.Image, profile: bytes) -> Coloured:
    """Return the samples of an image of mode L or RGB, and the ICC profile that they keep; sRGB needs none.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    if not profile:
        return Coloured(_three_channels(np.asarray(image)))
    return _by_profile(image, profile, grey=image.mode == "L", keep=True)


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
    image = Image.fromarray(pixels.data[..., 0] if pixels.grey else pixels.data)
    return Pixels(_by_profile(image, profile, grey=pixels.grey, keep=False).data, pixels.grey)


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
    """Return `rgb` (H, W, 3) composited over white by `alpha` (H, W), rounded to the nearest level."""
    weight = alpha[..., None].astype(np.uint16)  # 255 * 255 + 127 still fits 16 bits
    return ((rgb * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)
