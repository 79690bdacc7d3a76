"""`rdo-demo`: a first report of `rdo-compare`, on scikit-image's photographs if it is installed, else on drawings."""

import argparse
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from codec.images.pixels import Samples
    from jobs.comparing.ladders import Available
    from jobs.comparing.run import CompareSettings

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")  # inside scikit-image's package: nothing is downloaded
DRAWINGS = ("noon", "dusk", "street")
LADDER = "2,4,6"
WIDTH, HEIGHT = 384, 256  # px; small, so that the demo takes two minutes on two cores
CODECS = "jpeg,webp,avif,jpegxl"
# by tuning, of AVIF's ladders: those tuned for what the files are tuned for
PEERS = {"visual": ("AVIF tune=iq", "AVIF tune=ssimulacra2"), "mse": ("AVIF tune=psnr",)}
EXAMPLES = """\
  rdo-demo                       rdo-demo/report.html in two to four minutes
  rdo-demo --open                and show it
  rdo-demo --tune mse            refined for PSNR instead of for the eye
  rdo-demo --iters 200           more gain, more time"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `rdo-demo`."""
    flags = cli.parser("rdo-demo", "Compare plain, refined and classical files of three sample pictures.", EXAMPLES)
    flags.add_argument("-o", "--output", type=Path, default=Path("rdo-demo"), help="folder of the report")
    flags.add_argument("--open", action="store_true", help="show the report in the program that the system has")
    flags.add_argument("--tune", choices=tuple(PEERS), default="visual", help="what refined files shall be good at")
    flags.add_argument("--iters", default="24", help="refinement steps")
    flags.add_argument("--qualities", help=f"quality levels of plain and refined files, 1 to 8 (default {LADDER})")
    cli.add_model_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)

    def run() -> int:
        from jobs.comparing.run import compare

        pictures = save_pictures(arguments.output)
        status = compare(parse(arguments, pictures))
        if arguments.open:
            cli.open_file(arguments.output / "report.html")
        return status

    return cli.guarded(run)


def parse(arguments: argparse.Namespace, pictures: Path) -> "CompareSettings":
    """Return the settings of a comparison of the pictures in a folder.

    Raises:
        ConfigError: a bad value.
    """
    from codec.images.read import ImagePolicy
    from codec.zoo import COMPRESSAI
    from jobs.comparing.run import CompareSettings, parse_recipes
    from jobs.pools.selection import PoolSettings
    from jobs.running.refine_settings import RefineFlags

    # models of others may have one quality alone, which is then the default
    qualities = arguments.qualities or (None if arguments.model.startswith(COMPRESSAI) else LADDER)
    count = len(list(pictures.glob("*.png")))
    flags = ["--tune", arguments.tune, "--iters", arguments.iters, "--pictures", str(count), "--codecs", CODECS]
    flags += ["--qualities", qualities] if qualities else []
    flags += ["--model", arguments.model, "--device", arguments.device]
    return CompareSettings(
        inputs=(str(pictures),),
        records=(),
        output=arguments.output,
        qualities=tuple(cli.numbers(qualities, "--qualities")) if qualities else None,
        recipes=parse_recipes(arguments.iters, RefineFlags(), arguments.model, arguments.tune),
        codecs=choose_peers(arguments.tune),
        anchors=None,
        find_anchors=False,
        views=count,
        policy=ImagePolicy(),
        pool=cli.from_flags(PoolSettings, arguments),
        command=shlex.join(["rdo-compare", str(pictures), "-o", str(arguments.output), *flags]),
        json=False,
        tune=arguments.tune,
    )


def choose_peers(tune: str) -> "Available":
    """Return the ladders of classical codecs that matter for a tuning, and a note on those left out to save time."""
    from jobs.comparing.ladders import Available, choose_codecs

    found = choose_codecs(CODECS, all_by_default=True)
    kept = [name for name in found.ladders if name in (*PEERS[tune], "JPEG", "WebP", "JPEG XL effort 7")]
    left = [name for name in found.ladders if name not in kept]
    note = f"To be quick, the demo leaves out {', '.join(left)}, JPEG 2000 and HEIC; rdo-compare has them."
    return Available(kept, [*found.notes, note])


def save_pictures(folder: Path) -> Path:
    """Write the sample pictures as PNG and return the folder that they are in, below the one given.

    Photographs and drawings have a folder each, so that neither run shows the other's.
    """
    from codec.files import write_atomically
    from codec.images.formats import write_png
    from codec.images.pixels import Pixels

    pictures, name = photographs(), "photographs"
    if pictures is None:
        cli.say('scikit-image is not installed: pictures are drawn; for its photographs pip install ".[demo]"')
        pictures, name = drawings(), "drawings"
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    for stem, samples in pictures.items():
        write_atomically(target / f"{stem}.png", write_png(Pixels(samples, grey=False)))
    return target


def photographs() -> "dict[str, Samples] | None":
    """Return the central sections of scikit-image's photographs, uint8 (HEIGHT, WIDTH, 3); None if it is missing."""
    try:
        from skimage import data
    except ImportError:
        return None
    found = {}
    for name in PHOTOGRAPHS:
        photo = getattr(data, name)()  # (H, W, 3) uint8
        top, left = (photo.shape[0] - HEIGHT) // 2, (photo.shape[1] - WIDTH) // 2
        found[name] = photo[top : top + HEIGHT, left : left + WIDTH].copy()
    return found


def drawings() -> "dict[str, Samples]":
    """Draw landscapes and a street, uint8 (HEIGHT, WIDTH, 3)."""
    from codec.images.landscape import landscape
    from codec.images.street import street

    drawing: dict[str, Callable[[int, int], Samples]]
    drawing = {"noon": partial(landscape, seed=0), "dusk": partial(landscape, seed=1), "street": street}
    return {name: drawing[name](WIDTH, HEIGHT) for name in DRAWINGS}
