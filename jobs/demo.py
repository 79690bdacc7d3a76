"""`rdo-demo`: report of `rdo-compare` on the sample photographs of scikit-image."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from jobs.comparing.run import CompareSettings

NAMES = ("astronaut", "chelsea", "coffee")  # inside scikit-image's package: nothing is downloaded
LADDER = "2,4,6"
WIDTH, HEIGHT = 384, 256  # px; small, so that the demo takes two minutes on two cores
EXAMPLES = """\
  rdo-demo                       rdo-demo/report.html in about two minutes
  rdo-demo --iters 200           more gain, more time"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `rdo-demo`."""
    flags = cli.parser("rdo-demo", "Compare plain, refined and classical files of three sample photographs.", EXAMPLES)
    flags.add_argument("-o", "--output", type=Path, default=Path("rdo-demo"), help="folder of the report")
    flags.add_argument("--iters", default="30", help="refinement steps")
    flags.add_argument("--qualities", help=f"quality levels of plain and refined files, 1 to 8 (default {LADDER})")
    cli.add_model_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)

    def run() -> int:
        from jobs.comparing.run import compare

        save_photographs(arguments.output / "pictures")
        return compare(parse(arguments))

    return cli.guarded(run)


def parse(arguments: argparse.Namespace) -> "CompareSettings":
    """Return the settings of a comparison of the sample photographs.

    Raises:
        ConfigError: a bad value.
    """
    from codec.images.read import ImagePolicy
    from codec.zoo import COMPRESSAI
    from jobs.comparing.ladders import choose_codecs
    from jobs.comparing.run import CompareSettings, parse_recipes
    from jobs.pools.selection import PoolSettings
    from jobs.running.refine_settings import RefineFlags

    # models of others may have one quality alone, which is then the default
    qualities = arguments.qualities or (None if arguments.model.startswith(COMPRESSAI) else LADDER)
    folder = str(arguments.output / "pictures")
    ladder = ["--qualities", qualities] if qualities else []
    flags = ["--iters", arguments.iters, "--pictures", str(len(NAMES)), *ladder]
    model = ["--model", arguments.model, "--device", arguments.device]
    return CompareSettings(
        inputs=(folder,),
        records=(),
        output=arguments.output,
        qualities=tuple(cli.numbers(qualities, "--qualities")) if qualities else None,
        recipes=parse_recipes(arguments.iters, RefineFlags(), arguments.model),
        codecs=choose_codecs(None, all_by_default=True),
        anchors=None,
        find_anchors=True,
        views=len(NAMES),
        policy=ImagePolicy(),
        pool=cli.from_flags(PoolSettings, arguments),
        command=shlex.join(["rdo-compare", folder, "-o", str(arguments.output), *flags, *model]),
        json=False,
    )


def save_photographs(folder: Path) -> None:
    """Write the central crop of each sample photograph as PNG.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    from codec.errors import ConfigError
    from codec.files import write_atomically
    from codec.images.formats import write_png
    from codec.images.pixels import Pixels

    try:
        from skimage import data
    except ImportError as error:
        what = "the sample photographs come with scikit-image, which is not installed"
        raise ConfigError(f'{what}: pip install ".[demo]", or name your own with rdo-compare photos/') from error
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        photo = getattr(data, name)()  # (H, W, 3) uint8
        top, left = (photo.shape[0] - HEIGHT) // 2, (photo.shape[1] - WIDTH) // 2
        section = photo[top : top + HEIGHT, left : left + WIDTH]
        write_atomically(folder / f"{name}.png", write_png(Pixels(section.copy(), grey=False)))
