"""Opening of pictures: the header read and checked, no pixel decoded, damaged metadata taken out of the way."""

import io
from typing import NamedTuple

from PIL import Image, ImageFile, UnidentifiedImageError

from codec.errors import ImageError
from codec.images import exif, png
from codec.images.extra_formats import check_size, enable, extra_kind
from codec.images.headers import (
    SIGNATURES,
    bits_per_sample,
    describe_tiff,
    frame_count,
    is_raw_preview,
    is_signed,
)
from codec.images.jxl_header import read_jxl_header
from codec.images.pillow_guard import FORMATS

_BIG_ENDIAN_BIG = b"MM\0+"  # of TIFF
_RAW_HINT = "a camera's raw file, of which only the preview can be read: develop it to PNG, TIFF or JPEG"


class Opened(NamedTuple):
    """Picture whose header was read.

    Attributes:
        image: the file, opened by Pillow.
        data: its bytes, without damaged metadata.
        bits: per sample.
        notes: what was damaged and passed over.
    """

    image: ImageFile.ImageFile
    data: bytes
    bits: int
    notes: list[str]


def open_picture(data: bytes, *, depth: int | None, first_frame: bool, max_megapixels: float) -> Opened:
    """Open a picture that is not a camera's raw file.

    Args:
        depth, first_frame, max_megapixels: of `codec.images.read.ImagePolicy`.

    Raises:
        ImageError: no picture, or one that the policy does not allow.
    """
    kind, notes, formats = extra_kind(data), list[str](), list(FORMATS)
    if kind:
        if kind == "JPEG XL":
            header = read_jxl_header(data)  # before all of it is decoded
            check_size(header.width, header.height, max_megapixels)
        formats = [enable(kind)]
    samples, notes = png.samples_alone(data)
    try:
        image = Image.open(io.BytesIO(samples), formats=formats)
    except UnidentifiedImageError as error:
        raise _unidentified(data, kind) or error from error
    opened = Opened(image, samples, bits_per_sample(image, samples), notes)
    check_size(*image.size, max_megapixels)
    _check_header(opened, data, depth, first_frame)
    return opened


def _unidentified(data: bytes, kind: str | None) -> ImageError | None:
    """Return the truth about a file that Pillow does not know, None where there is nothing more to say."""
    name = kind or next((name for mark, name in SIGNATURES.items() if data.startswith(mark)), None)
    if data.startswith(_BIG_ENDIAN_BIG):
        return ImageError("big-endian BigTIFF, which is not read: save it in the other byte order, or as PNG")
    if name == "TIFF" and (what := describe_tiff(data)):
        return ImageError(f"{what}, which is not read: convert it to 8- or 16-bit grey or RGB")
    if name is None:
        return None
    return ImageError(f"damaged or incomplete {name} header: copy or export the picture again")


def _check_header(opened: Opened, data: bytes, depth: int | None, first_frame: bool) -> None:
    """Raise ImageError, before a pixel is decoded, for a picture that the policy does not allow."""
    image, bits = opened.image, opened.bits
    if is_raw_preview(image):
        raise ImageError(_RAW_HINT)
    frames = frame_count(image)
    if image.format == "JXL" and read_jxl_header(data).is_animation and not first_frame:
        raise ImageError("an animation: pass --first-frame to take the first frame")
    if frames > 1 and not first_frame:
        raise ImageError(f"{frames} frames or pages: pass --first-frame to take the first")
    if is_signed(image) and bits <= 8:
        raise ImageError(f"signed {bits}-bit samples: convert them to unsigned ones")
    if image.mode == "F" or bits > 16:
        raise ImageError(f"{bits}-bit samples of mode {image.mode}: convert it to 8 or 16 bits")
    if bits > 8 and depth is None:
        raise ImageError(f"{bits}-bit image: pass --depth 8 to round it to 8 bits")


def left_out(image: ImageFile.ImageFile, data: bytes, packet: bytes) -> list[str]:
    """Return a note on each part of a file that is no part of its main picture: films, gain maps, further pictures."""
    count = int(getattr(image, "n_frames", 1)) if image.format in ("MPO", "HEIF") else 1
    film = image.format in ("JPEG", "MPO", "HEIF") and (b"MotionPhoto" in packet or b"MicroVideo" in packet)
    gain_marks = (b"hdrgm:", b"hdr-gain-map", b"urn:iso:std:iso:ts:21496", b"hdrgainmap")
    head = data[: 1 << 20]
    gain = any(mark in packet or mark in head for mark in gain_marks)
    further = f"{count - 1} further picture{'s' * (count > 2)} of the file" if count > 1 and not gain else ""
    parts = [further, "the film of a motion photo" if film else "", "the gain map for HDR displays" if gain else ""]
    return [f"left out: {part}" for part in parts if part]


def exif_or_empty(block: bytes, notes: list[str]) -> bytes:
    """Return an EXIF block, empty with a note where it cannot be read."""
    if block and exif.parse(block) is None:
        notes.append("damaged EXIF is passed over")
        return b""
    return block
