"""Facts in the header of an image file that Pillow does not report, or not reliably: bit depth, grey, frames, previews.

Everything here reads headers only; no pixel is decoded.
"""

import io

from PIL import ImageFile, TiffImagePlugin

from codec.images.jxl_header import read_jxl_header

_SUBFILE_TYPE, _BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 254, 258, 262, 339  # TIFF tags
_PLANES, _SIGNED, _BIG = 284, 2, b"+\0"  # tag, value of one, version of a BigTIFF file
_PNG_GREY_ALPHA = 4  # PNG colour type
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"II+\0": "TIFF", b"MM\0+": "TIFF", b"BM": "BMP", b"qoif": "QOI", b"RIFF": "WebP",
}  # fmt: skip  # names of formats by the bytes that their files begin with
_PHOTOMETRIC_NAMES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_SAMPLE_KINDS = {1: "", 2: "signed ", 3: "floating-point "}


def describe_tiff(data: bytes) -> str | None:
    """Return what samples a TIFF file holds, as `TIFF of 3 x 32-bit floating-point RGB samples`; None if it is none."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:4] == _BIG else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bits, kinds = tags.get(_BITS_PER_SAMPLE, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
        photometric = _PHOTOMETRIC_NAMES.get(tags[_PHOTOMETRIC], f"photometric {tags[_PHOTOMETRIC]}")
    except Exception:  # of a damaged file, nearly any
        return None
    return f"TIFF of {len(bits)} x {max(bits)}-bit {_SAMPLE_KINDS.get(kinds[0], '')}{photometric} samples"


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
            if image.mode == "F":
                return 32
            args = image.tile[0][3]  # (raw mode, largest value), but without the value if that is 255, or 65535 in grey
            return int(args[1]).bit_length() if isinstance(args, tuple) else 16 if image.mode == "I" else 8
        case "JPEG2000":
            return (data[data.index(b"\xff\x4f\xff\x51") + 42] & 0x7F) + 1  # Ssiz of the first component
        case "AVIF":
            return 10 if data[data.index(b"av1C") + 6] & 0x40 else 8  # the high_bitdepth flag, set for 12 bits too
        case "HEIF":
            return int(image.info.get("bit_depth", 8))
        case "JXL":
            return read_jxl_header(data).bits
    return 8


def is_grey(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Return whether the file holds one channel of luminance, with or without alpha; `image` is not yet loaded."""
    # Pillow opens 16-bit grey with alpha as RGBA; the PNG header's colour type, byte 25, tells.
    grey_alpha = image.format == "PNG" and data[25] == _PNG_GREY_ALPHA
    return grey_alpha or image.mode in ("1", "L", "LA", "La") or image.mode[0] == "I"


def is_raw_preview(image: ImageFile.ImageFile) -> bool:
    """Return whether the first picture of a TIFF is a reduced preview of others, as in a camera's raw file."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and bool(image.tag_v2.get(_SUBFILE_TYPE, 0) & 1)


def is_signed(image: ImageFile.ImageFile) -> bool:
    """Return whether the samples of a TIFF may be negative."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ())


def is_in_planes(image: ImageFile.ImageFile) -> bool:
    """Return whether a TIFF has its channels one after the other."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or len(image.getbands()) < 2:
        return False
    return image.tag_v2.get(_PLANES) == 2


def is_uncompressed(image: ImageFile.ImageFile) -> bool:
    """Return whether the samples of a picture that is not loaded stand in its file as they are."""
    return bool(image.tile) and image.tile[0].codec_name == "raw"


def is_white_zero(image: ImageFile.ImageFile) -> bool:
    """Return whether the grey samples of a TIFF grow from white to black."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0


def frame_count(image: ImageFile.ImageFile) -> int:
    """Return the number of frames or pages; 1 for formats with a main picture, MPO and HEIF."""
    return 1 if image.format in ("MPO", "HEIF") else int(getattr(image, "n_frames", 1))
