"""`rdo-bench before-after`: a picture, its plain file and its refined one of as many bytes, side by side."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.runtime import check_device

if TYPE_CHECKING:
    from codec.bitstream.tiles import Rect
    from codec.images.outputs import OutputSettings
    from codec.images.pixels import Pixels
    from codec.images.sheet import Panel
    from codec.interface import AnyCodec

STREET = (576, 384)  # px, of the drawing that stands in for a picture
STREET_CROP = "192x192+40+120"


@dataclass(frozen=True)
class BeforeAfter:
    """Settings of one sheet.

    Attributes:
        picture: path; None draws a street.
        output: path of the sheet, whose suffix names its format.
        outputs: how it is written.
        crop: part to show; None is all of it.
        scale: factor that the panels are enlarged by, so that pixels are seen.
        quality: quality level of the refined file, 1 to 8.
        iters: refinement steps.
        tune: what the refined file shall be good at, as in `rdo.tune`.
    """

    picture: Path | None
    output: Path
    outputs: "OutputSettings"
    crop: "Rect | None"
    scale: int
    quality: float
    iters: int
    tune: str
    model: str
    device: str


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `rdo-bench before-after`."""
    flags.add_argument("picture", nargs="?", type=Path, metavar="PICTURE", help="picture (default: a drawn street)")
    flags.add_argument(
        "-o", "--output", type=Path, default=Path("before-after.png"), help="file to write: png, webp, jpg, ..."
    )
    flags.add_argument("--crop", metavar="WxH+X+Y", help=f"part to show (default: all; of the street {STREET_CROP})")
    flags.add_argument("--scale", type=int, default=2, help="enlarge the panels by this factor")
    flags.add_argument("--quality", type=float, default=2.0, help="quality level of the refined file, 1 to 8")
    flags.add_argument("--iters", type=int, default=40, help="refinement steps")
    flags.add_argument("--tune", default="visual", help="what it is refined for: visual, mse, ms-ssim")
    cli.add_model_flags(flags)


def parse(arguments: argparse.Namespace) -> BeforeAfter:
    """Check the flags and return them as settings.

    Raises:
        ConfigError: a crop that is none, a suffix of no format, or a scale below 1.
    """
    from codec.errors import ConfigError
    from codec.images.outputs import OutputSettings, format_of
    from jobs.running.decode_settings import parse_crop

    kind = format_of(arguments.output)
    if kind is None:
        raise ConfigError(f"-o {arguments.output}: name a picture, as before-after.png")
    if arguments.scale < 1:
        raise ConfigError(f"--scale {arguments.scale}: must be 1 or more")
    crop = arguments.crop or (None if arguments.picture else STREET_CROP)
    return BeforeAfter(
        picture=arguments.picture,
        output=arguments.output,
        outputs=OutputSettings(format=kind),
        crop=None if crop is None else parse_crop(crop),
        scale=arguments.scale,
        quality=arguments.quality,
        iters=arguments.iters,
        tune=arguments.tune,
        model=arguments.model,
        device=check_device(arguments.device),
    )


def run(settings: BeforeAfter) -> int:
    """Encode the picture both ways and write the sheet."""
    from codec.files import write_atomically
    from codec.images.outputs import write_picture
    from codec.images.pixels import Pixels
    from codec.images.read import read_image
    from codec.images.sheet import side_by_side
    from codec.images.street import street
    from codec.loading import load

    pixels = read_image(settings.picture) if settings.picture else Pixels(street(*STREET), grey=False)
    check_crop(settings.crop, pixels)
    panels = encoded(load(settings.model, settings.device), pixels, settings)
    sheet = side_by_side(panels, settings.crop, settings.scale)
    write_atomically(settings.output, write_picture(sheet, settings=settings.outputs))
    print(*(panel.caption for panel in panels), f"the sheet is {settings.output}", sep="\n")
    return cli.DONE


def check_crop(crop: "Rect | None", pixels: "Pixels") -> None:
    """Check that a part lies inside of a picture.

    Raises:
        ConfigError: it does not.
    """
    from codec.errors import ConfigError

    if crop and (crop.right > pixels.width or crop.bottom > pixels.height):
        raise ConfigError(f"--crop: reaches beyond the picture, which has {pixels.width} x {pixels.height} pixels")


def encoded(codec: "AnyCodec", pixels: "Pixels", settings: BeforeAfter) -> "list[Panel]":
    """Return the original, its plain file of at most the refined one's bytes, and the refined one.

    All is left to the networks: exact blocks would show what a lossless codec does.
    """
    import rdo
    from codec.coding import decode
    from codec.images.sheet import Panel
    from codec.metrics.ssimulacra2 import ssimulacra2

    refined = rdo.encode(
        codec, pixels, quality=settings.quality, iters=settings.iters, tune=settings.tune, exact="never"
    )
    plain = rdo.encode(codec, pixels, target_bytes=len(refined), iters=0, exact="never")
    panels = [Panel(pixels, "original")]
    for name, data in (("plain", plain), ("refined", refined)):
        shown = decode(codec, data).pixels
        score = ssimulacra2(pixels, shown)
        told = "" if score is None else f", SSIMULACRA 2 {score:.1f}"
        panels.append(Panel(shown, f"{name}, {len(data):,} bytes{told}"))
    return panels
