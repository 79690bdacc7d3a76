"""Colour space that an image file states: by an ICC profile, else in the format's own way, else by EXIF.

    PNG         cICP, then iCCP, then sRGB, then gAMA and cHRM (PNG, third edition, section 4.3)
    AVIF, HEIC  colr of types prof and rICC, then nclx (ISO/IEC 23000-22, section 7)
    JPEG        APP2 fragments, even where their count is wrong
    JPEG 2000   colr: a profile
    BMP         versions 4 and 5: profile, or end points and gammas
    TIFF        profile, else primaries and white
    any         EXIF: ColorSpace 2 or InteropIndex R03, Adobe RGB

Samples of a file that states nothing are sRGB, as are those of QOI, whose writers fill its byte at random. Code points
are those of ITU-T H.273.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from PIL import ImageFile, TiffImagePlugin

from codec.errors import ImageError
from codec.images import exif, isobmff, png
from codec.images.rgb_space import (
    ADOBE,
    ADOBE_GAMMA,
    BT709,
    D65,
    Chromaticities,
    Curve,
    RgbSpace,
    hlg_curve,
    power_curve,
    pq_curve,
    space_of,
    srgb_curve,
)  # fmt: skip

_C, _DCI_WHITE = (0.310, 0.316), (0.314, 0.351)
_PRIMARIES: dict[int, Chromaticities] = {
    1: BT709,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_DCI_WHITE),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *D65),
}
# the camera's curves of video (1, 6, 11, 12, 14, 15) are shown on displays much like sRGB's, and so by browsers
_CURVES: dict[int, Curve] = {
    **dict.fromkeys((1, 6, 11, 12, 13, 14, 15), srgb_curve),
    4: power_curve(2.2), 5: power_curve(2.8), 8: power_curve(1), 16: pq_curve, 18: hlg_curve,
}  # fmt: skip
_UNSTATED, _PQ, _HLG = 2, 16, 18
_GAMA_SRGB, _GAMA_TOLERANCE = 45_455, 0.05  # within which a gamma is that of sRGB, as in libpng
_BMP_CALIBRATED, _BMP_EMBEDDED = 0, 0x4D424544
_PROFILE_MARK = b"ICC_PROFILE\0"
_TIFF_WHITE, _TIFF_PRIMARIES = 318, 319


@dataclass(frozen=True)
class StatedColour:
    """Colour space of a file's samples; sRGB where there is neither profile nor space.

    Attributes:
        profile: ICC profile, None where there is none.
        space: stated in another way.
        is_hdr: whether the space is one of high dynamic range, PQ or HLG.
        is_narrow: whether black and white are 16 and 235 of 255.
    """

    profile: bytes | None = None
    space: RgbSpace | None = None
    is_hdr: bool = False
    is_narrow: bool = False


def stated_colour(image: ImageFile.ImageFile, data: bytes, exif_data: bytes) -> StatedColour:
    """Return the colour space that a file states.

    Args:
        image: the file, opened by Pillow.
        data: its bytes.
        exif_data: its EXIF block, empty if it has none.

    Raises:
        ImageError: it is stated by a code point that is not known.
    """
    readers: dict[str | None, Callable[[ImageFile.ImageFile, bytes], StatedColour | None]] = {
        "PNG": _of_png, "JPEG": _of_jpeg, "MPO": _of_jpeg, "AVIF": _of_heif, "HEIF": _of_heif, "JPEG2000": _of_jp2,
        "BMP": _of_bmp, "TIFF": _of_tiff,
    }  # fmt: skip
    reader = readers.get(image.format, _of_pillow)
    found = reader(image, data)
    if found is None and exif.is_adobe_rgb(exif_data):
        return StatedColour(space=space_of(ADOBE, power_curve(ADOBE_GAMMA)))
    return found or StatedColour()


def _of_pillow(image: ImageFile.ImageFile, data: bytes) -> StatedColour | None:  # noqa: ARG001
    profile = image.info.get("icc_profile")
    return StatedColour(profile) if profile else None


def _of_png(image: ImageFile.ImageFile, data: bytes) -> StatedColour | None:  # noqa: ARG001
    found = png.colour_chunks(data)
    if len(cicp := found.get(b"cICP", b"")) == 4:
        return _of_code_points(cicp[0], cicp[1], is_narrow=not cicp[3])
    if profile := png.profile_of(found.get(b"iCCP", b"")):
        return StatedColour(profile)
    if b"sRGB" in found:
        return StatedColour()
    gamma, ends = found.get(b"gAMA", b""), found.get(b"cHRM", b"")
    chromaticities = BT709
    curve: Curve = srgb_curve
    if len(ends) == 32:  # white first
        x = [value / 100_000 for value in struct.unpack(">8I", ends)]
        chromaticities = (x[2], x[3], x[4], x[5], x[6], x[7], x[0], x[1])
    if len(gamma) == 4 and (value := int.from_bytes(gamma)):
        curve = _encoding_curve(value / 100_000)
    return _space_or_none(chromaticities, curve) if gamma or ends else None


def _encoding_curve(exponent: float) -> Curve:
    """Return the curve that inverts light^exponent, or that of sRGB where it is as near as files round it."""
    if abs(exponent / (_GAMA_SRGB / 100_000) - 1) <= _GAMA_TOLERANCE:
        return srgb_curve
    return power_curve(1 / exponent)


def _space_or_none(chromaticities: Chromaticities, curve: Curve) -> StatedColour | None:
    """Return a space, or None where the numbers are no colours: such metadata is passed over."""
    try:
        return StatedColour(space=space_of(chromaticities, curve))
    except ValueError:
        return None


def _of_code_points(primaries: int, transfer: int, is_narrow: bool = False) -> StatedColour | None:
    """Return the space of two code points, None where both leave it open.

    Raises:
        ImageError: an unknown one.
    """
    if primaries == _UNSTATED and transfer == _UNSTATED:
        return StatedColour(is_narrow=True) if is_narrow else None
    chromaticities = BT709 if primaries == _UNSTATED else _PRIMARIES.get(primaries)
    curve = srgb_curve if transfer == _UNSTATED else _CURVES.get(transfer)
    if chromaticities is None or curve is None:
        what = f"primaries {primaries} with transfer function {transfer} (H.273)"
        raise ImageError(f"colours are stated as {what}, which is not known: convert the picture to sRGB")
    space = space_of(chromaticities, curve, is_scene=transfer == _HLG)
    return StatedColour(space=space, is_hdr=transfer in (_PQ, _HLG), is_narrow=is_narrow)


def _of_heif(image: ImageFile.ImageFile, data: bytes) -> StatedColour | None:
    """Return what the primary item's colr boxes say; its range and matrix are applied by the decoder."""
    stated = [body for kind, body in isobmff.primary_properties(data) if kind == b"colr"]
    for body in stated:
        if body[:4] in (b"prof", b"rICC"):
            return StatedColour(body[4:])
    for body in stated:
        if body[:4] == b"nclx" and len(body) >= 10:
            primaries, transfer = struct.unpack(">HH", body[4:8])
            return _of_code_points(primaries, transfer)
    return _of_pillow(image, data)


def _of_jp2(image: ImageFile.ImageFile, data: bytes) -> StatedColour | None:
    header = isobmff.find(data, "jp2h")
    for box in isobmff.boxes(data, header.begin, header.end) if header else ():
        if box.kind == b"colr" and data[box.begin] in (2, 3):  # a profile, restricted or not
            return StatedColour(data[box.begin + 3 : box.end])
    return _of_pillow(image, data)


def _of_jpeg(image: ImageFile.ImageFile, data: bytes) -> StatedColour | None:
    """Return the profile of a JPEG file; where the count of its fragments is wrong, what they are together."""
    if found := _of_pillow(image, data):
        return found
    applications: list[tuple[str, bytes]] = getattr(image, "applist", [])
    fragments = [body for name, body in applications if name == "APP2" and body.startswith(_PROFILE_MARK)]
    start = len(_PROFILE_MARK)
    numbered = sorted((body[start : start + 1], body[start + 2 :]) for body in fragments)
    profile = b"".join(next(group)[1] for _, group in groupby(numbered, key=lambda each: each[0]))
    return StatedColour(profile) if profile else None


def _of_bmp(image: ImageFile.ImageFile, data: bytes) -> StatedColour | None:  # noqa: ARG001
    """Return the space in the header of a BMP file of version 4 or 5 (BITMAPV5HEADER)."""
    if int.from_bytes(data[14:18], "little") < 108:
        return None
    kind = int.from_bytes(data[70:74], "little")
    if kind == _BMP_EMBEDDED and len(data) >= 138:
        at, size = struct.unpack_from("<II", data, 126)
        return StatedColour(data[14 + at : 14 + at + size])
    if kind != _BMP_CALIBRATED:
        return None
    x = [value / 2**30 for value in struct.unpack_from("<9i", data, 74)]  # X, Y, Z of red, green, blue
    gammas = [value / 2**16 for value in struct.unpack_from("<3I", data, 110)]
    sums = [sum(x[i : i + 3]) for i in (0, 3, 6)]
    if not all(value > 0 for value in sums) or not all(0.1 < gamma < 10 for gamma in gammas):
        return None  # most writers leave zeros
    white = [sum(x[i::3]) for i in range(3)]
    ends = [x[i] / total for total, at in zip(sums, (0, 3, 6), strict=True) for i in (at, at + 1)]
    r_x, r_y, g_x, g_y, b_x, b_y = ends
    chromaticities = (r_x, r_y, g_x, g_y, b_x, b_y, white[0] / sum(white), white[1] / sum(white))
    return _space_or_none(chromaticities, _encoding_curve(3 / sum(gammas)))


def _of_tiff(image: ImageFile.ImageFile, data: bytes) -> StatedColour | None:
    if found := _of_pillow(image, data):
        return found
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    white, ends = (tuple(map(float, image.tag_v2.get(tag, ()))) for tag in (_TIFF_WHITE, _TIFF_PRIMARIES))
    if (len(white), len(ends)) != (2, 6):
        return None
    r_x, r_y, g_x, g_y, b_x, b_y = ends
    return _space_or_none((r_x, r_y, g_x, g_y, b_x, b_y, white[0], white[1]), srgb_curve)
