"""Reading pictures: `read_image` gives upright, opaque 8-bit sRGB of three channels, whatever the file holds.

What cannot become that without losing something the user may care about (alpha, depth, frames) is refused unless an
`ImagePolicy` decides.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from PIL import Image, ImageFile

from codec.architecture import PIXELS_MAX
from codec.errors import ConfigError, ImageError
from codec.images import exif
from codec.images.colour import blend_over_white, coloured
from codec.images.depth import Raster, deep_raster
from codec.images.extra_formats import check_raw, develop, enable, extra_kind
from codec.images.headers import is_grey
from codec.images.jpeg import mend_jpeg
from codec.images.jxl_header import read_jxl_header
from codec.images.metadata import (
    NOTHING,
    Keeping,
    Metadata,
    kept,
    read_metadata,
    stated_dpi,
    stated_makers,
)
from codec.images.opening import Opened, exif_or_empty, left_out, open_picture
from codec.images.orientation import upright
from codec.images.pillow_guard import FORMATS, pillow_guard
from codec.images.pixels import Pixels, Samples
from codec.images.raw_metadata import metadata_of_raw
from codec.images.rows import band_of, bands
from codec.images.stated_colour import stated_colour

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
_UPRIGHT = ("JXL", "HEIF")  # whose decoders turn the picture
_HIGH_BYTES_ONLY = ("JPEG2000", "JXL", "TIFF")


@dataclass(frozen=True)
class ImagePolicy:
    """User's decisions on pictures that are no 8-bit opaque stills; the default refuses them all.

    Attributes:
        alpha: where a picture is not opaque: `refuse`, `drop` (bares hidden colours) or `blend` (over white).
        depth: None refuses more than 8 bits a sample; 8 rounds to the nearest of 256 levels, after the colours were
            converted. Of deep colour in JPEG 2000, JPEG XL and premultiplied TIFF decoders give the high byte only.
        first_frame: take the first frame of an animation, or page of a document, instead of refusing it.
        ignore_icc: take samples as sRGB where the ICC profile is damaged or of another colour space, else refuse.
        hdr: where samples are PQ or HLG: `refuse`, or `clip` what is brighter than the white of paper (203 cd/m2).
        gamut: `srgb` converts; `keep` leaves pixels with another ICC profile as they are (`Picture.metadata` has it).
        max_megapixels: of the largest picture that memory is taken for.

    Raises:
        ConfigError: a value is none of these.
    """

    alpha: str = "refuse"
    depth: int | None = None
    first_frame: bool = False
    ignore_icc: bool = False
    hdr: str = "refuse"
    gamut: str = "srgb"
    max_megapixels: float = PIXELS_MAX / 1e6

    ADDED: ClassVar[tuple[str, ...]] = ("ignore_icc", "hdr", "gamut", "max_megapixels")

    def __post_init__(self) -> None:
        valid = {
            "alpha": ("refuse", "drop", "blend"), "depth": (None, 8), "first_frame": (False, True),
            "ignore_icc": (False, True), "hdr": ("refuse", "clip"), "gamut": ("srgb", "keep"),
        }  # fmt: skip
        for key, choices in valid.items():
            if getattr(self, key) not in choices:
                raise ConfigError(f"{key}: {getattr(self, key)!r} is not valid: choose one of {choices}")
        if not 0 < self.max_megapixels < math.inf:
            raise ConfigError(f"max_megapixels {self.max_megapixels:g}: must be positive and finite")


STRICT = ImagePolicy()


@dataclass(frozen=True, eq=False)
class Picture:
    """Picture that was read, with what its file says besides the pixels.

    Attributes:
        metadata: EXIF and XMP as they stand in the file; the profile of the pixels where they are not sRGB.
        dpi: resolution that the format states, None if it is a screen's.
        makers: names and copyright notice in the format's own texts.
        notes: what was damaged and passed over, or left out.
    """

    pixels: Pixels
    metadata: Metadata = NOTHING
    dpi: tuple[float, float] | None = None
    makers: tuple[str, str] = ("", "")
    notes: tuple[str, ...] = ()

    def kept(self, keeping: Keeping) -> Metadata:
        """Return the metadata that a copy of the pixels keeps (`codec.images.metadata`)."""
        width, height = self.pixels.width, self.pixels.height
        return kept(self.metadata, keeping, width=width, height=height, dpi=self.dpi, makers=self.makers)


Source = Path | str | bytes | bytearray | BinaryIO


def read_image(source: Source, policy: ImagePolicy = STRICT, name: str | None = None) -> Pixels:
    """Read a picture as 8-bit sRGB: orientation applied, colours converted from the space that is stated, grey kept.

    An sRGB source stays bit-exact, and alpha that is opaque everywhere is dropped. A camera's multi-picture JPEG gives
    its picture, not the previews. Threads may call this at once; Python's warnings are silent meanwhile.

    Args:
        source: a path, a file's bytes, or a stream, read to its end.
        name: opens the error messages, if given.

    Raises:
        ImageError: unreadable, corrupt, too large, or in need of a decision that `policy` does not give.
    """
    return read_picture(source, policy, name).pixels


def read_picture(source: Source, policy: ImagePolicy = STRICT, name: str | None = None) -> Picture:
    """Read a picture as `read_image` does, with its metadata and notes on what was left out.

    Raises:
        ImageError: unreadable, corrupt, too large, or in need of a decision that `policy` does not give.
    """
    try:
        with pillow_guard():
            match source:
                case Path() | str():
                    data = Path(source).read_bytes()
                case bytes() | bytearray():
                    data = bytes(source)
                case _:
                    data = source.read()
            return _decode(data, policy)
    except ImageError as error:
        if name is None:
            raise
        raise ImageError(f"{name}: {error}") from error


def is_image(path: Path) -> bool:
    """Return whether the header of `path` is that of a picture; other files found in folders are skipped.

    True also for files that are to be reported as failures: a picture over a size limit, a file that may not be
    opened, a damaged one with the signature of PNG, JPEG, GIF, TIFF or WebP.
    """
    try:
        with pillow_guard():
            if not path.is_file():  # opening a named pipe would block
                return False
            with path.open("rb") as file:
                head = file.read(64)
                if extra_kind(head):
                    return True
                if not head.startswith(_SIGNATURES) and (head[:4], head[8:12]) != (b"RIFF", b"WEBP"):
                    Image.open(file, formats=FORMATS)
                return True
    except ImageError as error:
        return bool(getattr(error.__cause__, "errno", 0))


def refusal(source: Path | bytes, policy: ImagePolicy = STRICT) -> str | None:
    """Return the message with which `read_image` will refuse a file, as far as its header tells, else None.

    Transparency and damaged pixels show only once the picture is decoded.
    """
    try:
        with pillow_guard():
            data = source.read_bytes() if isinstance(source, Path) else source
            if extra_kind(data) == "raw":
                check_raw()
            else:
                _open(data, policy).image.close()
    except ImageError as error:
        return str(error)
    return None


def image_size(source: Path | BinaryIO) -> tuple[int, int] | None:
    """Return (width, height) in pixels from the header, before EXIF orientation; None where that cannot be read."""
    try:
        with pillow_guard(), source.open("rb") if isinstance(source, Path) else source as file:
            head = file.read(1 << 16)
            kind = extra_kind(head)
            if kind == "JPEG XL":
                header = read_jxl_header(head)
                return header.width, header.height
            return Image.open(file, formats=[enable(kind)] if kind == "HEIC" else FORMATS).size
    except ImageError:
        return None


def _decode(data: bytes, policy: ImagePolicy) -> Picture:
    """Decode a file's bytes and settle depth, colour, alpha and orientation, in this order."""
    if not data:
        raise ImageError("empty file of 0 bytes: copy or export it again")
    if extra_kind(data) == "raw":
        return Picture(Pixels(develop(data, policy.max_megapixels), False), metadata_of_raw(data))
    opened = _open(data, policy)
    image, notes = opened.image, list(opened.notes)
    with image:
        grey, found = is_grey(image, opened.data), _metadata(image, data, notes)
        colour = stated_colour(image, data, found.exif)
        if colour.is_hdr and policy.hdr == "refuse":
            raise ImageError("HDR samples (PQ or HLG): pass --hdr clip to cut off what is brighter than paper white")
        notes += left_out(image, data, found.xmp)
        dpi, makers = stated_dpi(image, data), stated_makers(image, data)
        raster = deep_raster(image, opened.data, opened.bits) if opened.bits > 8 else None
        picture = raster or _loaded(image, opened, notes)
    alpha = raster.alpha if raster else _alpha(picture, grey)
    orientation = _orientation(image, opened.data, found.exif)
    samples, profile = coloured(
        picture,
        colour,
        grey=grey,
        ignore_icc=policy.ignore_icc,
        keep=policy.gamut == "keep",
        orientation=orientation,
        notes=notes,
    )
    if alpha is not None:
        samples = _settle_alpha(samples, alpha, policy)
    pixels = Pixels(upright(samples, orientation), grey)
    return Picture(pixels, replace(found, profile=profile), dpi, makers, tuple(notes))


def _orientation(image: ImageFile.ImageFile, data: bytes, exif_data: bytes) -> int:
    """Return how decoded samples are to be turned, 1 to 8, as in EXIF."""
    if image.format == "JXL" and getattr(image, "jpeg", False):  # a JPEG file, which the decoder restored as it was
        return read_jxl_header(data).orientation
    return 1 if image.format in _UPRIGHT else exif.orientation(exif_data)


def _open(data: bytes, policy: ImagePolicy) -> Opened:
    return open_picture(data, depth=policy.depth, first_frame=policy.first_frame, max_megapixels=policy.max_megapixels)


def _metadata(image: ImageFile.ImageFile, data: bytes, notes: list[str]) -> Metadata:
    """Return a file's EXIF and XMP; what is damaged is left out, with a note."""
    try:
        found = read_metadata(image, data)
    except Exception:  # of damaged metadata, nearly any
        notes.append("damaged metadata is passed over")
        return NOTHING
    return replace(found, exif=exif_or_empty(found.exif, notes))


def _loaded(image: ImageFile.ImageFile, opened: Opened, notes: list[str]) -> Image.Image:
    """Return the decoded picture of 8 bits per sample, with its transparent colour of as many."""
    try:
        image.load()
        loaded: Image.Image = image
    except OSError as error:
        mended = mend_jpeg(opened.data) if image.format in ("JPEG", "MPO") and not error.errno else None
        if mended is None:
            raise
        loaded = mended
        notes.append("the end mark of the JPEG is missing; the picture is whole")
    if opened.bits > 8 and image.format in _HIGH_BYTES_ONLY:
        notes.append(f"{opened.bits}-bit samples are rounded down: their decoder gives the high 8 bits")
    if loaded.mode == "L" and opened.bits in (2, 4) and "transparency" in loaded.info:
        loaded.info["transparency"] *= 255 // (2**opened.bits - 1)  # the pixels are spread over 8 bits
    return loaded


def _alpha(image: Image.Image | Raster, grey: bool) -> Samples | None:
    """Return the alpha channel (H, W) of a picture of 8 bits, None where it has none, as a BMP that left it at 0."""
    assert isinstance(image, Image.Image)
    if not image.has_transparency_data:
        return None
    alpha = np.empty((image.height, image.width), np.uint8)
    for rows in bands(*alpha.shape):
        alpha[rows] = band_of(image, rows, "LA" if grey else "RGBA")[..., -1]
    return None if image.format == "BMP" and not alpha.any() else alpha


def _settle_alpha(rgb: Samples, alpha: Samples, policy: ImagePolicy) -> Samples:
    """Return opaque samples (H, W, 3): drop or blend alpha (H, W), or refuse, as the policy says."""
    if policy.alpha == "drop" or alpha.min() == 255:
        return rgb
    if policy.alpha == "refuse":
        raise ImageError("transparent pixels: pass --alpha blend (over white) or --alpha drop (ignore alpha)")
    return blend_over_white(rgb, alpha)
