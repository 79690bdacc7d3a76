"""`rdo-demo`: a first report without photos of one's own, on those that come with scikit-image."""

import argparse
from pathlib import Path

from jobs import cli, compare

NAMES = ("astronaut", "chelsea", "coffee")  # inside scikit-image's package: nothing is downloaded
LADDER = "2,4,6"
WIDTH, HEIGHT = 384, 256  # px; small, so that the whole takes two minutes on two cores
EXAMPLES = """\
  rdo-demo                       rdo-demo/report.html in about two minutes
  rdo-demo --iters 200           more gain, more time"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser("rdo-demo", "Compare plain, refined and classical files of three sample photographs.", EXAMPLES)
    flags.add_argument("-o", "--output", type=Path, default=Path("rdo-demo"), help="folder")
    flags.add_argument("--iters", default="30", help="refinement steps")
    flags.add_argument("--qualities", help=f"ladder of plain and refined, 1 to 8 (default {LADDER})")
    cli.add_model_flags(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: demo(arguments))


def demo(arguments: argparse.Namespace) -> int:
    """Save the photographs, then compare as `rdo-compare` does."""
    from codec.zoo import COMPRESSAI

    folder = arguments.output / "pictures"
    save_photographs(folder)
    settings = ["--iters", arguments.iters, "--pictures", "3"]
    if arguments.qualities or not arguments.model.startswith(COMPRESSAI):  # theirs may have one alone
        settings += ["--qualities", arguments.qualities or LADDER]
    model = ["--model", arguments.model, "--device", arguments.device]
    return compare.main([str(folder), "-o", str(arguments.output), *settings, *model])


def save_photographs(folder: Path) -> None:
    """The middle of each sample photograph, as PNG.

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
