"""Pictures to files for users: formats by name and suffix, their quality, and metadata in each format's own place."""

import importlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from PIL import Image, PngImagePlugin, TiffImagePlugin

from codec.errors import ConfigError, ImageError, first_line
from codec.images import exif
from codec.images.colour import convert_by_profile
from codec.images.formats import save_as
from codec.images.metadata import NOTHING, Metadata
from codec.images.pixels import Pixels

QUALITY = 95  # of lossy formats: the loss beside that of the codec is small
_XMP_TAG, _XMP_KEYWORD = 700, "XML:com.adobe.xmp"
_FOLDER_TAGS = (0x8769, 0x8825)  # of EXIF and position
_RESOLUTIONS, _UNIT, _UNITS = (0x011A, 0x011B), 0x0128, (1, 2, 3)
# fields of EXIF's first folder that a TIFF has beside its own, and the types of their values; any other would tell how
# its pixels are stored, and a wrong value crashes the library that writes them
_TIFF_FIELDS: dict[int, type | tuple[type, ...]] = {
    **dict.fromkeys((0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298), str),  # names, dates, notices
    **dict.fromkeys(_RESOLUTIONS, TiffImagePlugin.IFDRational),
    _UNIT: int,
    **dict.fromkeys((0x4746, 0x4749), int),  # ratings
    **dict.fromkeys((0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, 0xC4A5), (bytes, tuple)),  # of Windows; for printing
}
_JPEG_SEGMENT_MAX = 65_533 - 29  # bytes of EXIF or XMP that one segment holds, without the longest of their names


@dataclass(frozen=True)
class OutputFormat:
    """Format to write.

    Attributes:
        kind: Pillow's name of it.
        suffixes: of file names, the usual one first.
        is_lossy: whether it has a quality.
        options: that it is written with.
        plugin: module that makes Pillow write it.
        holds: parts of `Metadata` that have a place in it.
    """

    kind: str
    suffixes: tuple[str, ...]
    is_lossy: bool = False
    has_lossless: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    plugin: str | None = None
    holds: tuple[str, ...] = ("exif", "xmp", "profile")


FORMATS = {
    "png": OutputFormat("PNG", (".png",), options={"compress_level": 4}),  # 6, the usual: 0 to 5 % less, half as fast
    "jpeg": OutputFormat("JPEG", (".jpg", ".jpeg", ".jpe"), True, options={"subsampling": 0, "optimize": True}),
    "webp": OutputFormat("WEBP", (".webp",), True, True, {"method": 4}),
    "avif": OutputFormat("AVIF", (".avif",), True, options={"subsampling": "4:4:4"}),
    "jxl": OutputFormat(
        "JXL", (".jxl",), True, True, {"use_container": True}, plugin="pillow_jxl", holds=("exif", "xmp")
    ),
    "tiff": OutputFormat("TIFF", (".tif", ".tiff"), options={"compression": "tiff_adobe_deflate"}),
    "ppm": OutputFormat("PPM", (".ppm", ".pgm", ".pnm"), holds=()),
}


@dataclass(frozen=True)
class OutputSettings:
    """Settings of a written picture.

    Attributes:
        format: key of `FORMATS`.
        quality: 1 to 100 of a lossy format; None is 95.
        lossless: whether a format that has a lossless mode uses it.
        options: further options of Pillow for the format, by name.

    Raises:
        ConfigError: a format that is unknown, or lacks what is asked for.
    """

    format: str = "png"
    quality: int | None = None
    lossless: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"format {self.format!r}: choose one of {', '.join(FORMATS)}")
        chosen = FORMATS[self.format]
        if self.quality is not None and (not chosen.is_lossy or self.lossless):
            lossy = ", ".join(name for name, each in FORMATS.items() if each.is_lossy)
            raise ConfigError(f"quality {self.quality}: {self.format} loses nothing; {lossy} have a quality")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"quality {self.quality}: must lie between 1 and 100")
        if self.lossless and not chosen.has_lossless and chosen.is_lossy:
            raise ConfigError(f"lossless: {self.format} has no such mode here; png, webp, jxl and tiff have")


class _Text(str):
    """Text of EXIF that is written with the bytes that it was read from, which Pillow takes for Latin-1 and ASCII."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:  # noqa: ARG002  (Pillow passes them)
        """Return the bytes."""
        return super().encode("latin-1")


def format_of(path: Path) -> str | None:
    """Return the name of the format that a file's suffix asks for, None where it is not one of `FORMATS`."""
    return next((name for name, each in FORMATS.items() if path.suffix.lower() in each.suffixes), None)


def write_picture(pixels: Pixels, metadata: Metadata = NOTHING, settings: OutputSettings = OutputSettings()) -> bytes:
    """Return the bytes of a picture's file, with as much of the metadata as the format holds.

    Pixels with a profile for which the format has no place are converted to sRGB.

    Raises:
        ImageError: a plugin is missing, or the format refuses the picture or an option.
    """
    file = io.BytesIO()
    save_picture(file, pixels, metadata, settings)
    return file.getvalue()


def save_picture(file: BinaryIO, pixels: Pixels, metadata: Metadata, settings: OutputSettings) -> None:
    """Write what `write_picture` returns to a file, which Pillow may read and write anywhere.

    Raises:
        ImageError: a plugin is missing, or the format refuses the picture or an option.
        OSError: the disk is full.
    """
    chosen = FORMATS[settings.format]
    if chosen.plugin:
        try:
            importlib.import_module(chosen.plugin)
        except ImportError as error:
            raise ImageError(
                f'{settings.format} is written by the extra `formats`: pip install ".[formats]"'
            ) from error
    if metadata.profile and "profile" not in chosen.holds:
        pixels = convert_by_profile(pixels, metadata.profile)
        metadata = replace(metadata, profile=b"")
    options = {**chosen.options, **_quality(chosen, settings)}
    with _told_of_exif() if chosen.kind == "TIFF" and metadata.exif else nullcontext():
        save_as(file, pixels, chosen.kind, {**options, **_places(chosen, metadata), **settings.options})


@contextmanager
def _told_of_exif() -> Iterator[None]:
    """Say of a TIFF that cannot be written that its EXIF, whose tags become the file's own, may be why.

    Raises:
        ImageError: in place of what Pillow raises, which for damaged values is one of many errors.
        OSError: the disk is full.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged fields
            yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # of the disk
            raise
        advice = "its EXIF may be damaged: pass --metadata drop, or choose another format"
        raise ImageError(f"TIFF: the picture cannot be written: {advice} ({first_line(error)})") from error


def _quality(chosen: OutputFormat, settings: OutputSettings) -> dict[str, Any]:
    if not chosen.is_lossy:
        return {}
    if settings.lossless:
        return {"lossless": True}
    return {"quality": QUALITY if settings.quality is None else settings.quality}


def _has_place(tag: int, value: object) -> bool:
    """Tell whether a TIFF has a field of EXIF's first folder beside its own, and may have this value."""
    if not isinstance(value, _TIFF_FIELDS.get(tag, ())) or (tag == _UNIT and value not in _UNITS):
        return False
    return tag not in _RESOLUTIONS or 0 < cast(float, value) < math.inf


def _places(chosen: OutputFormat, metadata: Metadata) -> dict[str, Any]:
    """Return the options by which Pillow writes metadata in a format.

    Raises:
        ImageError: more than a JPEG segment holds.
    """
    found: dict[str, Any] = {"icc_profile": metadata.profile} if metadata.profile else {}
    if chosen.kind == "JPEG" and max(len(metadata.exif), len(metadata.xmp)) > _JPEG_SEGMENT_MAX:
        raise ImageError("JPEG holds no metadata of over 64 KiB: pass --metadata drop, or choose another format")
    if chosen.kind == "TIFF":  # whose tags they are
        block = Image.Exif()
        block.load(exif.PREFIX + metadata.exif if metadata.exif else b"")
        for tag in set(block) - set(_FOLDER_TAGS):
            if not _has_place(tag, block.get(tag)):
                del block[tag]
        for folder in (block, *(block.get_ifd(tag) for tag in _FOLDER_TAGS if tag in block)):
            folder.update({tag: _Text(value) for tag, value in folder.items() if isinstance(value, str)})
        if metadata.xmp:
            block[_XMP_TAG] = metadata.xmp
        plain = {"compression": None} if any(tag in block for tag in _FOLDER_TAGS) else {}  # libtiff writes no folders
        return {**found, **plain, "exif": block} if len(block) else found
    if metadata.exif and "exif" in chosen.holds:
        found["exif"] = exif.PREFIX + metadata.exif
    if metadata.xmp and chosen.kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt(_XMP_KEYWORD, metadata.xmp.decode("utf-8", "replace"))
        found["pnginfo"] = texts
    elif metadata.xmp and "xmp" in chosen.holds:
        found["xmp"] = metadata.xmp
    return found
