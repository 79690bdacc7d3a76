"""Formats that Pillow does not read by itself: HEIC, JPEG XL and cameras' raw files, by the extra `formats`."""

import importlib
import io
from typing import Any

import numpy as np

from codec.architecture import PIXELS_MAX, SIDE_MAX
from codec.errors import ImageError
from codec.images import exif
from codec.images.jxl_header import CODESTREAM, CONTAINER
from codec.images.pixels import Samples

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")
_RAW_HEADS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")
_DNG_VERSION, _PHOTOMETRIC, _SUBFILE_TYPE, _SUBFOLDERS = 0xC612, 262, 254, 330
_RAW_PHOTOMETRIC = (32_803, 34_892)  # colour filter array, linear raw
_SRGB_GAMMA = (2.4, 12.92)  # exponent and slope at black; the library's default is that of video


def extra_kind(data: bytes) -> str | None:
    """Return the kind of a file that Pillow alone does not read, `HEIC`, `JPEG XL` or `raw`, else None."""
    if data[4:8] == b"ftyp":
        brands = data[8 : min(len(data), int.from_bytes(data[:4]))]
        if brands.startswith(b"crx "):
            return "raw"
        return "HEIC" if brands[:4] in _HEIC_BRANDS and b"avif" not in brands and b"avis" not in brands else None
    if data.startswith((CODESTREAM, CONTAINER)):
        return "JPEG XL"
    return "raw" if data.startswith(_RAW_HEADS) or _is_tiff_raw(data) else None


def _is_tiff_raw(data: bytes) -> bool:
    """Return whether a TIFF file holds a sensor's samples (DNG, NEF, CR2, ARW, PEF, ...)."""
    if not data.startswith((b"II*\0", b"MM\0*")):
        return False
    if data[8:10] == b"CR":
        return True
    block = exif.parse(data)
    if block is None:
        return False
    values = {tag: exif.integer(data, "main", tag) for tag in (_PHOTOMETRIC, _SUBFILE_TYPE)}
    is_preview = bool((values[_SUBFILE_TYPE] or 0) & 1) and block.find("main", _SUBFOLDERS) is not None
    return is_preview or values[_PHOTOMETRIC] in _RAW_PHOTOMETRIC or block.find("main", _DNG_VERSION) is not None


def check_raw() -> None:
    """Raise where cameras' raw files cannot be read.

    Raises:
        ImageError: rawpy is not installed.
    """
    _import("rawpy", "a camera's raw file")


def enable(kind: str) -> str:
    """Make Pillow read `HEIC` or `JPEG XL`, and return its name for that format.

    Raises:
        ImageError: the plugin is not installed.
    """
    if kind == "HEIC":
        _import("pillow_heif", "HEIC").register_heif_opener()
        return "HEIF"
    _import("pillow_jxl", "JPEG XL")
    return "JXL"


def check_size(width: int, height: int, max_megapixels: float) -> None:
    """Raise for a picture that is too large, before memory is taken for it.

    Raises:
        ImageError: more pixels than the limit, or than a file holds along a side.
    """
    if max(width, height) > SIDE_MAX:
        raise ImageError(f"{width} x {height} px: crop or downscale it to {SIDE_MAX} px a side")
    if width * height > 1e6 * max_megapixels:
        size = f"{width} x {height} px"
        raise ImageError(f"{size} is over {max_megapixels:g} megapixels: crop it, or raise --max-megapixels")


def develop(data: bytes, max_megapixels: float = PIXELS_MAX / 1e6) -> Samples:
    """Return the upright 8-bit sRGB samples (H, W, 3) of a camera's raw file, with the camera's white balance.

    Raises:
        ImageError: rawpy is not installed, or cannot read the file.
    """
    rawpy = _import("rawpy", "a camera's raw file")
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            check_size(raw.sizes.width, raw.sizes.height, max_megapixels)
            return np.ascontiguousarray(
                raw.postprocess(use_camera_wb=True, output_color=rawpy.ColorSpace.sRGB, gamma=_SRGB_GAMMA, output_bps=8)
            )
    except rawpy.LibRawError as error:
        what = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else error
        raise ImageError(f"raw file that LibRaw does not read ({what}): develop it to TIFF or JPEG") from error


def _import(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImageError(f'{what} is read by the extra `formats`: pip install ".[formats]"') from error
