"""Pictures in, pixels out: the one place where a file's colour conventions are settled.

Past this module all is upright 8-bit sRGB of three channels without alpha. What cannot become that without losing what
the user may care about (alpha, depth, frames) is refused until an `ImagePolicy` decides. The way back is
`codec.images.formats`; no other file imports Pillow.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from codec.bitstream.container import PIXELS_MAX, SIDE_MAX
from codec.errors import ConfigError, ImageError
from codec.images.pixels import Pixels, Samples

# Not all that Pillow opens: EPS runs Ghostscript, TGA has no magic number, others are films or cannot be loaded.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "QOI", "AVIF")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
_UNREAD = {  # by what stands in the first 12 bytes
    "HEIC": (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"),
    "JPEG XL": (b"\0\0\0\x0cJXL ",),
    "a camera's raw file": (b"ftypcrx ", b"FUJIFILM", b"IIRO", b"IIU\0"),
}
_ICC_TOLERANCE = 2  # levels; sRGB profiles differ by rounding, Display P3 and Adobe RGB by tens of levels


@dataclass(frozen=True)
class ImagePolicy:
    """The user's decisions on pictures that are no 8-bit opaque stills; the default refuses them all.

    Attributes:
        alpha: where a picture is not opaque: `refuse`, `drop` (bares hidden colours) or `blend` (over white).
        depth: None refuses more than 8 bits a sample; 8 rounds to 8 bits, exactly for grey, while of 16-bit colour
            Pillow hands over the high byte only, up to one level from the nearest.
        first_frame: take the first frame of an animation, or page of a document, instead of refusing it.

    Raises:
        ConfigError: a value is none of these.
    """

    alpha: str = "refuse"
    depth: int | None = None
    first_frame: bool = False

    def __post_init__(self) -> None:
        valid = {"alpha": ("refuse", "drop", "blend"), "depth": (None, 8), "first_frame": (False, True)}
        for key, choices in valid.items():
            if getattr(self, key) not in choices:
                raise ConfigError(f"{key}: {getattr(self, key)!r} is not valid: choose one of {choices}")


STRICT = ImagePolicy()


def read_image(
    source: Path | str | bytes | bytearray | BinaryIO, policy: ImagePolicy = STRICT, name: str | None = None
) -> Pixels:
    """Reads a picture as 8-bit sRGB: EXIF orientation applied, ICC profile converted, grey kept grey.

    An sRGB source stays bit-exact, and alpha that is opaque everywhere is dropped. Of a camera's multi-picture JPEG the
    picture is taken, not the previews. Threads may call this at once; Python's warnings are silent meanwhile.
    `source` is a path, a file's bytes, or a stream, read to its end; `name`, if given, opens the error messages.

    Raises:
        ImageError: unreadable, corrupt, too large, or in need of a decision that `policy` does not give.
    """
    try:
        with _pillow():
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
    """Tells from the header whether `path` is for `read_image`, so that a walk of folders skips what is no picture.

    True also for what is to be reported, not skipped: a picture over the size limit, a file that may not be opened, a
    damaged one that still bears the signature of PNG, JPEG, GIF, TIFF or WebP.
    """
    try:
        with _pillow():
            if not path.is_file():  # opening a named pipe would block
                return False
            with path.open("rb") as file:
                head = file.read(16)
                if not head.startswith(_SIGNATURES) and (head[:4], head[8:12]) != (b"RIFF", b"WEBP"):
                    Image.open(file, formats=_FORMATS)
                return True
    except ImageError as error:
        return isinstance(error.__cause__, Image.DecompressionBombError) or bool(getattr(error.__cause__, "errno", 0))


def refusal(path: Path, policy: ImagePolicy = STRICT) -> str | None:
    """Why `read_image` will refuse a file, as far as its header tells: not of transparency, nor of damaged pixels."""
    try:
        with _pillow():
            _open(path.read_bytes(), policy).close()
    except ImageError as error:
        return str(error)
    return None


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the header, before orientation; None where that cannot be read."""
    try:
        with _pillow(), path.open("rb") as file:
            return Image.open(file, formats=_FORMATS).size
    except ImageError:
        return None


class _Globals:
    """Pillow's size limit and Python's warnings as we need them, for as long as any thread is inside."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self.before.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = PIXELS_MAX // 2  # Pillow warns above this and raises above twice this
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.before.close()


_globals = _Globals()


@contextmanager
def _pillow() -> Iterator[None]:
    """Sets our size limit, silences warnings, turns all errors into ImageError, leaves Pillow's globals as found."""
    with _globals:
        try:
            yield
        except (ImageError, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            size = str(error).split(" exceeds")[0]  # "Image size (... pixels)"
            raise ImageError(f"{size} is over {PIXELS_MAX / 1e6:g} megapixels: crop or downscale it") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"no picture, or a damaged header: give one of {', '.join(_FORMATS)}") from error
        except Exception as error:  # on damaged files Pillow's plugins raise nearly any type
            if isinstance(error, OSError) and error.errno:
                raise ImageError(f"cannot be read: {error.strerror}: check the path and its permissions") from error
            what = f"{type(error).__name__}: {error}"
            raise ImageError(f"corrupt or truncated image ({what}): copy or export it again") from error


def _open(data: bytes, policy: ImagePolicy) -> ImageFile.ImageFile:
    """A picture with its header read, and not refused for it."""
    if not data:
        raise ImageError("empty file of 0 bytes: copy or export it again")
    try:
        file = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        if kind := next((kind for kind, marks in _UNREAD.items() if any(mark in data[:12] for mark in marks)), None):
            raise ImageError(f"{kind} is not read: export it as PNG, JPEG or TIFF") from None
        raise
    _check_header(file, _bits_per_sample(file, data), policy)
    return file


def _decode(data: bytes, policy: ImagePolicy) -> Pixels:
    with _open(data, policy) as file:
        bits = _bits_per_sample(file, data)
        # 16-bit grey with alpha opens as RGBA; the PNG header's colour type, byte 25, says 4.
        grey = file.mode in ("1", "L", "LA", "La") or file.mode[0] == "I" or (file.format == "PNG" and data[25] == 4)
        file.load()
        ImageOps.exif_transpose(file, in_place=True)
    image: Image.Image = file
    if image.mode[0] == "I":
        image = _round_grey(image, bits)
    elif bits > 8 and "transparency" in image.info:  # the pixels are high bytes, so must be the transparent colour
        image.info["transparency"] = tuple(level >> 8 for level in image.info["transparency"])
    elif image.mode == "L" and bits in (2, 4) and "transparency" in image.info:  # the pixels are spread over 8 bits
        image.info["transparency"] *= 255 // (2**bits - 1)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
        alpha = np.array(image.getchannel("A"))  # (H, W)
    rgb = np.array(_to_srgb(image, grey).convert("RGB"))  # (H, W, 3)
    return Pixels(rgb if alpha is None else _settle_alpha(rgb, alpha, policy), grey)


def _bits_per_sample(image: ImageFile.ImageFile, data: bytes) -> int:
    """Reads the depth from the file itself, as Pillow hands over 16-bit colour as plain RGB, cut to 8 bits."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(258, (1,))))
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


def _check_header(image: ImageFile.ImageFile, bits: int, policy: ImagePolicy) -> None:
    """Refuses, before a pixel is decoded, what the policy does not allow."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(254, 0) & 1:  # a preview of what follows
        raise ImageError("a camera's raw file, of which only the preview can be read: develop it to PNG, TIFF or JPEG")
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if max(image.size) > SIDE_MAX:
        raise ImageError(f"{image.width} x {image.height} px: crop or downscale it to {SIDE_MAX} px a side")
    if frames > 1 and not policy.first_frame:
        raise ImageError(f"{frames} frames or pages: pass --first-frame to take the first")
    if image.mode == "F" or bits > 16:
        raise ImageError(f"{bits}-bit samples of mode {image.mode}: convert it to 8 or 16 bits")
    if bits > 8 and policy.depth is None:
        raise ImageError(f"{bits}-bit image: pass --depth 8 to round it to 8 bits")


def _round_grey(image: Image.Image, bits: int) -> Image.Image:
    """Rounds modes I and I;16 to the nearest of 256 levels; a transparent level becomes an alpha channel."""
    values = np.asarray(image)
    if values.min() < 0:
        raise ImageError(f"sample value {values.min()}: convert it to unsigned samples")
    top = 4095 if (image.format, bits) == ("TIFF", 12) else 65_535  # other depths come spread over 16 bits already
    levels = values.astype(np.uint32)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:  # white is zero
        np.subtract(top, levels, out=levels)
    rounded = Image.fromarray(((levels * 255 + top // 2) // top).astype(np.uint8))
    if "transparency" in image.info:
        opaque = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
        rounded = Image.merge("LA", (rounded, Image.fromarray(opaque)))
    rounded.info["icc_profile"] = image.info.get("icc_profile")
    return rounded


def _settle_alpha(rgb: Samples, alpha: Samples, policy: ImagePolicy) -> Samples:
    if policy.alpha == "drop" or alpha.min() == 255:
        return rgb
    if policy.alpha == "refuse":
        raise ImageError("transparent pixels: pass --alpha blend (over white) or --alpha drop (ignore alpha)")
    weight = alpha[..., None].astype(np.uint16)  # 255 * 255 + 127 still fits 16 bits
    return ((rgb * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def _to_srgb(image: Image.Image, grey: bool) -> Image.Image:
    """Drops alpha and converts by the ICC profile, perceptually; pixels that are sRGB already are not touched."""
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
    if mode in ("L", "RGB"):  # is it sRGB? a trial on 11^3 colours tells, a description may not ("linear sRGB")
        steps = np.array([0, 4, 16, 32, 64, 96, 128, 160, 192, 224, 255], dtype=np.uint8)
        chart = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(11, 121, 3)).convert(mode)
        change = np.asarray(transform.apply(chart), np.int16) - np.asarray(chart.convert("RGB"), np.int16)
        if np.abs(change).max() <= _ICC_TOLERANCE:
            return image
    converted = transform.apply(image.convert(mode))
    return converted.convert("L") if grey else converted
