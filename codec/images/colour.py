"""Conversion of decoded samples to 8-bit opaque sRGB: bit depth, ICC profile, alpha.

Invariant: samples that are 8-bit sRGB already come out bit-exact.
"""

import io

import numpy as np
from PIL import Image, ImageCms, ImageFile

from codec.errors import ImageError
from codec.images.metadata import is_white_zero
from codec.images.pixels import Samples

_ICC_TOLERANCE = 2  # levels; sRGB profiles differ by rounding, Display P3 and Adobe RGB by tens of levels
_CHART_LEVELS = (0, 4, 16, 32, 64, 96, 128, 160, 192, 224, 255)  # of each channel, to try a profile on


def to_8_bits(image: ImageFile.ImageFile, bits: int) -> Image.Image:
    """Return a loaded picture of `bits` per sample, with samples and transparent colour of 8 bits.

    Raises:
        ImageError: samples are negative.
    """
    if image.mode[0] == "I":
        return _round_grey(image, bits)
    if bits > 8 and "transparency" in image.info:  # the pixels are high bytes, so must be the transparent colour
        image.info["transparency"] = tuple(level >> 8 for level in image.info["transparency"])
    elif image.mode == "L" and bits in (2, 4) and "transparency" in image.info:  # the pixels are spread over 8 bits
        image.info["transparency"] *= 255 // (2**bits - 1)
    return image


def _round_grey(image: ImageFile.ImageFile, bits: int) -> Image.Image:
    """Round modes I and I;16 to the nearest of 256 levels; a transparent level becomes an alpha channel."""
    values = np.asarray(image)  # (H, W)
    if values.min() < 0:
        raise ImageError(f"sample value {values.min()}: convert it to unsigned samples")
    top = 4095 if (image.format, bits) == ("TIFF", 12) else 65_535  # other depths come spread over 16 bits already
    levels = values.astype(np.uint32)
    if is_white_zero(image):
        np.subtract(top, levels, out=levels)
    rounded = Image.fromarray(((levels * 255 + top // 2) // top).astype(np.uint8))
    if "transparency" in image.info:
        opaque = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
        rounded = Image.merge("LA", (rounded, Image.fromarray(opaque)))
    rounded.info["icc_profile"] = image.info.get("icc_profile")
    return rounded


def to_srgb(image: Image.Image, grey: bool) -> Image.Image:
    """Return `image` in sRGB without alpha, mode L or RGB, converted by its ICC profile with perceptual intent.

    Raises:
        ImageError: the ICC profile is damaged or belongs to another colour space.
    """
    icc = image.info.get("icc_profile") or b""
    if image.mode not in ("CMYK", "LAB"):
        image = image.convert("L" if grey else "RGB")
    if not icc and image.mode != "LAB":
        return image
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        lab = ImageCms.createProfile("LAB") if image.mode == "LAB" else None
        profile = ImageCms.ImageCmsProfile(lab or io.BytesIO(icc))
        mode = "RGB" if grey and profile.profile.xcolor_space == "RGB " else image.mode
        transform = ImageCms.ImageCmsTransform(profile, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
    except (OSError, TypeError, ValueError) as error:
        what = f"ICC profile of {len(icc)} bytes is damaged or not for mode {image.mode} ({error})"
        raise ImageError(f"{what}: embed the right one, or remove it with `exiftool -icc_profile:all= FILE`") from error
    if mode in ("L", "RGB") and _is_identity(transform, mode):
        return image
    converted = transform.apply(image.convert(mode))
    return converted.convert("L") if grey else converted


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
