"""Reading pictures: `read_image` gives upright, opaque 8-bit sRGB of three channels, whatever the file holds.

What cannot become that without losing something the user may care about (alpha, depth, frames) is refused unless an
`ImagePolicy` decides.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from codec.architecture import PIXELS_MAX, SIDE_MAX
from codec.errors import ConfigError, ImageError
from codec.images.colour import blend_over_white, to_8_bits, to_srgb
from codec.images.metadata import bits_per_sample, frame_count, is_grey, is_raw_preview, unread_format
from codec.images.pillow_guard import FORMATS, pillow_guard
from codec.images.pixels import Pixels, Samples

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class ImagePolicy:
    """User's decisions on pictures that are no 8-bit opaque stills; the default refuses them all.

    Attributes:
        alpha: where a picture is not opaque: `refuse`, `drop` (bares hidden colours) or `blend` (over white).
        depth: None refuses more than 8 bits a sample; 8 rounds to 8 bits, exactly for grey, while of 16-bit colour
            Pillow returns the high byte only, up to one level from the nearest.
        first_frame: take the first frame of an animation, or page of a document, instead of refusing it.
        max_megapixels: of the largest picture that memory is taken for.

    Raises:
        ConfigError: a value is none of these.
    """

    alpha: str = "refuse"
    depth: int | None = None
    first_frame: bool = False
    max_megapixels: float = PIXELS_MAX / 1e6

    ADDED: ClassVar[tuple[str, ...]] = ("max_megapixels",)

    def __post_init__(self) -> None:
        valid = {"alpha": ("refuse", "drop", "blend"), "depth": (None, 8), "first_frame": (False, True)}
        for key, choices in valid.items():
            if getattr(self, key) not in choices:
                raise ConfigError(f"{key}: {getattr(self, key)!r} is not valid: choose one of {choices}")
        if not 0 < self.max_megapixels < math.inf:
            raise ConfigError(f"max_megapixels {self.max_megapixels:g}: must be positive and finite")


STRICT = ImagePolicy()


def read_image(
    source: Path | str | bytes | bytearray | BinaryIO, policy: ImagePolicy = STRICT, name: str | None = None
) -> Pixels:
    """Read a picture as 8-bit sRGB: EXIF orientation applied, ICC profile converted, grey kept grey.

    An sRGB source stays bit-exact, and alpha that is opaque everywhere is dropped. A camera's multi-picture JPEG gives
    its picture, not the previews. Threads may call this at once; Python's warnings are silent meanwhile.

    Args:
        source: a path, a file's bytes, or a stream, read to its end.
        name: opens the error messages, if given.

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
                head = file.read(16)
                if not head.startswith(_SIGNATURES) and (head[:4], head[8:12]) != (b"RIFF", b"WEBP"):
                    Image.open(file, formats=FORMATS)
                return True
    except ImageError as error:
        return bool(getattr(error.__cause__, "errno", 0))


def refusal(path: Path, policy: ImagePolicy = STRICT) -> str | None:
    """Return the message with which `read_image` will refuse a file, as far as its header tells, else None.

    Transparency and damaged pixels show only once the picture is decoded.
    """
    try:
        with pillow_guard():
            _open(path.read_bytes(), policy).close()
    except ImageError as error:
        return str(error)
    return None


def image_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) in pixels from the header, before EXIF orientation; None where that cannot be read."""
    try:
        with pillow_guard(), path.open("rb") as file:
            return Image.open(file, formats=FORMATS).size
    except ImageError:
        return None


def _open(data: bytes, policy: ImagePolicy) -> ImageFile.ImageFile:
    """Open a picture, its header read and checked, its pixels not yet decoded."""
    if not data:
        raise ImageError("empty file of 0 bytes: copy or export it again")
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if kind := unread_format(data):
            raise ImageError(f"{kind} is not read: export it as PNG, JPEG or TIFF") from None
        raise
    _check_header(file, bits_per_sample(file, data), policy)
    return file


def _check_header(image: ImageFile.ImageFile, bits: int, policy: ImagePolicy) -> None:
    """Raise ImageError, before a pixel is decoded, for a picture that the policy does not allow."""
    if is_raw_preview(image):
        raise ImageError("a camera's raw file, of which only the preview can be read: develop it to PNG, TIFF or JPEG")
    frames = frame_count(image)
    if image.width * image.height > 1e6 * policy.max_megapixels:
        size = f"{image.width} x {image.height} px"
        raise ImageError(f"{size} is over {policy.max_megapixels:g} megapixels: crop it, or raise --max-megapixels")
    if max(image.size) > SIDE_MAX:
        raise ImageError(f"{image.width} x {image.height} px: crop or downscale it to {SIDE_MAX} px a side")
    if frames > 1 and not policy.first_frame:
        raise ImageError(f"{frames} frames or pages: pass --first-frame to take the first")
    if image.mode == "F" or bits > 16:
        raise ImageError(f"{bits}-bit samples of mode {image.mode}: convert it to 8 or 16 bits")
    if bits > 8 and policy.depth is None:
        raise ImageError(f"{bits}-bit image: pass --depth 8 to round it to 8 bits")


def _decode(data: bytes, policy: ImagePolicy) -> Pixels:
    """Decode a file's bytes and settle orientation, depth, colour and alpha, in this order."""
    with _open(data, policy) as file:
        bits, grey = bits_per_sample(file, data), is_grey(file, data)
        file.load()
        ImageOps.exif_transpose(file, in_place=True)
    image = to_8_bits(file, bits)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
        alpha = np.array(image.getchannel("A"))  # (H, W)
    rgb = np.array(to_srgb(image, grey).convert("RGB"))  # (H, W, 3)
    return Pixels(rgb if alpha is None else _settle_alpha(rgb, alpha, policy), grey)


def _settle_alpha(rgb: Samples, alpha: Samples, policy: ImagePolicy) -> Samples:
    """Return opaque samples (H, W, 3): drop or blend alpha (H, W), or refuse, as the policy says."""
    if policy.alpha == "drop" or alpha.min() == 255:
        return rgb
    if policy.alpha == "refuse":
        raise ImageError("transparent pixels: pass --alpha blend (over white) or --alpha drop (ignore alpha)")
    return blend_over_white(rgb, alpha)
