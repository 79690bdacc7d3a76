"""Metadata of an image file that Pillow does not report, or not reliably: bit depth, grey, frames, previews.

Everything here reads headers only; no pixel is decoded.
"""

from PIL import ImageFile, TiffImagePlugin

_SUBFILE_TYPE, _BITS_PER_SAMPLE, _PHOTOMETRIC = 254, 258, 262  # TIFF tags
_PNG_GREY_ALPHA = 4  # PNG colour type
_UNREAD_FORMATS = {  # by what stands in the first 12 bytes
    "HEIC": (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"),
    "JPEG XL": (b"\0\0\0\x0cJXL ",),
    "a camera's raw file": (b"ftypcrx ", b"FUJIFILM", b"IIRO", b"IIU\0"),
}


def unread_format(data: bytes) -> str | None:
    """Return the name of a format that is known but not read (HEIC, JPEG XL, camera raw), else None."""
    head = data[:12]
    return next((name for name, marks in _UNREAD_FORMATS.items() if any(mark in head for mark in marks)), None)


def bits_per_sample(image: ImageFile.ImageFile, data: bytes) -> int:
    """Return the bits per sample of the file `data`, which Pillow opened as `image`.

    They are read from the file itself, because Pillow returns 16-bit colour as RGB of 8 bits.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    match image.format:
        case "PNG":
            return data[24]  # in the header chunk
        case "PPM":
            args = image.tile[0][3]  # (raw mode, largest value), but without the value if that is 255, or 65535 in grey
            return int(args[1]).bit_length() if isinstance(args, tuple) else 16 if image.mode == "I" else 8
        case "JPEG2000":
            return (data[data.index(b"\xff\x4f\xff\x51") + 42] & 0x7F) + 1  # Ssiz of the first component
        case "AVIF":
            return 10 if data[data.index(b"av1C") + 6] & 0x40 else 8  # the high_bitdepth flag, set for 12 bits too
    return 8


def is_grey(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Return whether the file holds one channel of luminance, with or without alpha; `image` is not yet loaded."""
    # Pillow opens 16-bit grey with alpha as RGBA; the PNG header's colour type, byte 25, tells.
    grey_alpha = image.format == "PNG" and data[25] == _PNG_GREY_ALPHA
    return grey_alpha or image.mode in ("1", "L", "LA", "La") or image.mode[0] == "I"


def is_raw_preview(image: ImageFile.ImageFile) -> bool:
    """Return whether the first picture of a TIFF is a reduced preview of others, as in a camera's raw file."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and bool(image.tag_v2.get(_SUBFILE_TYPE, 0) & 1)


def is_white_zero(image: ImageFile.ImageFile) -> bool:
    """Return whether the grey samples of a TIFF grow from white to black."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0


def frame_count(image: ImageFile.ImageFile) -> int:
    """Return the number of frames or pages; a camera's multi-picture JPEG counts as one, as the others are previews."""
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
