"""Metadata of pictures: EXIF, XMP and colour profile, and which of it a copy keeps.

    default     EXIF and XMP without the position and the maker's notes
    keep        EXIF and XMP, every field byte for byte
    copyright   makers and copyright notice alone
    drop        nothing

In each case the orientation is that of an upright picture, and the thumbnail is left out, as it would be of other
pixels. A resolution or a text that a format states in its own way becomes EXIF, if there is none.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from PIL import ImageFile, TiffImagePlugin

from codec.errors import ConfigError
from codec.images import exif, iptc, isobmff, png, xmp
from codec.images.exif_building import DESCRIPTIVE, block_of, folders_of, resolution, text

Keeping = Literal["default", "keep", "copyright", "drop"]
KEEPING: tuple[str, ...] = get_args(Keeping)
_NO_DPI = (1, 72, 96)  # what programs write that know no resolution
_XMP_KEYWORD, _PNG_TEXTS = "XML:com.adobe.xmp", {"Author": exif.ARTIST, "Copyright": exif.COPYRIGHT}
_TIFF_XMP = 700


@dataclass(frozen=True)
class Metadata:
    """Metadata of a picture.

    Attributes:
        exif: TIFF block without the prefix "Exif", empty for none.
        xmp: packet, empty for none.
        profile: ICC profile of the samples; empty for sRGB.
    """

    exif: bytes = b""
    xmp: bytes = b""
    profile: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.exif or self.xmp or self.profile)


NOTHING = Metadata()


def read_metadata(image: ImageFile.ImageFile, data: bytes) -> Metadata:
    """Return the EXIF block and the XMP packet of a file as they stand in it; empty where there is none.

    What JPEG and TIFF say in IPTC's fields alone is added to the packet.

    Args:
        image: the file, opened by Pillow.
        data: its bytes.
    """
    found = _own_metadata(image, data)
    return replace(found, xmp=xmp.with_properties(found.xmp, iptc.properties(_iptc_block(image, data))))


def _own_metadata(image: ImageFile.ImageFile, data: bytes) -> Metadata:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        packet = image.tag_v2.get(_TIFF_XMP, b"")
        return Metadata(_exif_of_tiff(image, data), packet if isinstance(packet, bytes) else b"")
    block, packet = image.info.get("exif", b""), image.info.get("xmp", b"")
    if image.format == "PNG":  # whose metadata Pillow is not shown
        chunks = {c.kind: c for c in reversed(png.read_chunks(data)) if c.kind == b"eXIf" and c.intact}
        block = chunks[b"eXIf"].body(data) if chunks else b""
        packet = png.texts(data, (_XMP_KEYWORD,)).get(_XMP_KEYWORD, "").encode()
    if image.format == "JXL":
        found = isobmff.find(data, "xml ")
        packet = data[found.begin : found.end] if found else packet or b""  # that of a JPEG file inside
    return Metadata(_stripped(block or b""), packet if isinstance(packet, bytes) else b"")


def _iptc_block(image: ImageFile.ImageFile, data: bytes) -> bytes:
    """Return the IPTC block of a JPEG or TIFF file, empty where there is none."""
    if image.format == "TIFF":  # whose programs call it bytes, or numbers of four bytes
        return next((value.data for value in folders_of(data, (iptc.TIFF_TAG,)).get("main", ())), b"")
    resources = image.info.get("photoshop", {})
    return resources.get(iptc.PHOTOSHOP_RESOURCE, b"") if image.format in ("JPEG", "MPO") else b""


def _stripped(block: bytes) -> bytes:
    """Return an EXIF block that begins with its TIFF header, where that stands at the start or behind a prefix."""
    starts = [at for mark in (b"II*\0", b"MM\0*") if 0 <= (at := block.find(mark)) <= 10]
    return bytes(block[min(starts) :]) if starts else b""


def kept(
    found: Metadata, keeping: Keeping, *, width: int, height: int, dpi: tuple[float, float] | None = None,
    makers: tuple[str, str] = ("", ""),
) -> Metadata:  # fmt: skip
    """Return what a copy of a picture keeps of its metadata.

    Args:
        found: as `read_metadata` returns it; its profile, if any, is kept.
        width, height: size in pixels of the copy, which is upright.
        dpi: horizontal and vertical resolution that the format states, and `makers`, names and copyright notice.
    """
    if keeping == "drop":
        return replace(found, exif=b"", xmp=b"")
    if keeping == "copyright":
        names = xmp.rights(found.xmp)
        artist, notice = (
            exif.text(found.exif, tag) or name or own
            for tag, name, own in zip((exif.ARTIST, exif.COPYRIGHT), names, makers, strict=True)
        )
        return replace(found, exif=_credits(artist, notice), xmp=b"")
    private = keeping == "default"
    block = exif.edited(found.exif, width=width, height=height, private=private, srgb=not found.profile)
    if not found.exif:
        block = _credits(*makers, dpi)
    return replace(found, exif=block, xmp=xmp.without_location(found.xmp) if private else xmp.upright(found.xmp))


def check_keeping(keeping: str) -> None:
    """Raise where no way of keeping metadata has this name.

    Raises:
        ConfigError: it is none of `KEEPING`.
    """
    if keeping not in KEEPING:
        raise ConfigError(f"metadata {keeping!r}: choose one of {', '.join(KEEPING)}")


def stated_dpi(image: ImageFile.ImageFile, data: bytes) -> tuple[float, float] | None:
    """Return the resolution that a file's format states; None where it is a usual default, or there is none."""
    dpi = image.info.get("dpi")
    if image.format == "PNG":
        sizes = [c.body(data) for c in png.read_chunks(data) if c.kind == b"pHYs" and c.intact]
        metres = bool(sizes) and len(sizes[0]) == 9 and sizes[0][8] == 1
        dpi = tuple(int.from_bytes(sizes[0][i : i + 4]) * 0.0254 for i in (0, 4)) if metres else None
    try:
        x, y = (float(value) for value in dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    is_default = any(abs(x - dpi) < 0.5 and abs(y - dpi) < 0.5 for dpi in _NO_DPI)
    return None if is_default or not (0 < x < 1e5 and 0 < y < 1e5) else (x, y)


def stated_makers(image: ImageFile.ImageFile, data: bytes) -> tuple[str, str]:
    """Return the names of makers and the copyright notice in the texts of a PNG file, empty for others."""
    found = png.texts(data, _PNG_TEXTS) if image.format == "PNG" else {}
    return found.get("Author", ""), found.get("Copyright", "")


def _credits(artist: str, notice: str, dpi: tuple[float, float] | None = None) -> bytes:
    """Return an EXIF block of names of makers, copyright notice and resolution, as far as there are any."""
    values = [*text(exif.ARTIST, artist), *text(exif.COPYRIGHT, notice)]
    return block_of({"main": values + (resolution(*dpi) if dpi else [])})


def _exif_of_tiff(image: TiffImagePlugin.TiffImageFile, data: bytes) -> bytes:
    """Return an EXIF block of those tags of a TIFF file that describe the picture, and of its own EXIF folders."""
    sizes = () if stated_dpi(image, b"") else (exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT)
    return block_of(folders_of(data, {*DESCRIPTIVE} - {*sizes}), exif.order_of(data))
