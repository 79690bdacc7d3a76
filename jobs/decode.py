"""`rdo-decode`: .rdo files to PNG files."""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobs import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from codec.bitstream.tiles import Rect
    from codec.interface import AnyCodec

EXAMPLES = """\
  rdo-decode rdo-out/                       rdo-out/a.jpg.rdo -> rdo-out/a.jpg.png
  rdo-decode -o pictures/ rdo-out/          the same tree below pictures/
  rdo-decode -o a.png a.rdo
  rdo-decode --crop 800x600+1200+900 a.rdo  a part of it, from the tiles that it needs
  rdo-decode --salvage damaged.rdo          grey where it is lost
  rdo-decode - < a.rdo > a.png"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    flags = cli.parser("rdo-decode", "Decode .rdo files to PNG.", EXAMPLES)
    flags.add_argument("inputs", nargs="+", metavar="FILE", help=".rdo files or folders; - is standard input")
    flags.add_argument(
        "-o", "--output", help="folder, or one .png file; - is standard output (default: beside the file)"
    )
    flags.add_argument("--overwrite", action="store_true", help="replace existing pictures")
    flags.add_argument(
        "--crop", metavar="WxH+X+Y", help="decode W x H pixels, from column X and row Y on, and no tiles but theirs"
    )
    flags.add_argument(
        "--salvage",
        action="store_true",
        help="of damaged files of several tiles, write the others; status 1 all the same",
    )
    cli.add_size_flag(flags)
    cli.add_model_flags(flags, reads=True)
    return flags


@dataclass(frozen=True)
class DecodeRun:
    """Settings of one run of `rdo-decode`.

    Attributes:
        inputs: .rdo files or folders; `-` is standard input.
        output: folder, .png file, or `-` for standard output; None is beside each file.
        model: name of the one model to use; None is the installed model that each file names.
        device: of the model.
        overwrite: whether to replace existing pictures.
        crop: part to decode, `WxH+X+Y`; None is the whole picture.
        salvage: whether to write what is left of damaged files.
        max_megapixels: of the largest picture, or of the tiles that a crop needs, to take memory for.
    """

    inputs: list[str]
    output: str | None
    model: str | None
    device: str
    overwrite: bool
    crop: str | None = None
    salvage: bool = False
    max_megapixels: float = cli.MEGAPIXELS_MAX

    def options(self) -> "DecodeOptions":
        """Return what decoding a file needs to know.

        Raises:
            ConfigError: a crop that is not `WxH+X+Y`, or a limit that is not positive.
        """
        crop = None if self.crop is None else parse_crop(self.crop)
        return DecodeOptions(self.overwrite, crop, self.salvage, cli.pixels_of(self.max_megapixels))


class DecodeOptions(NamedTuple):
    """How files are decoded and written; fields as in `DecodeRun`."""

    overwrite: bool
    crop: "Rect | None"
    salvage: bool
    pixels_max: int


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: decode_all(cli.from_flags(DecodeRun, arguments)))


def decode_all(settings: DecodeRun) -> int:
    """Decode the files of a run; return 1 if any failed."""
    pairs, options = output_names(settings.inputs, settings.output), settings.options()

    from tqdm import tqdm

    from jobs.running.failures import explain
    from jobs.running.rdo_files import codec_loader

    codec_of = codec_loader(settings.model, cli.check_device(settings.device))
    failed = damaged = 0
    for source, target in tqdm(pairs, disable=True if len(pairs) < 2 else None, file=sys.stderr, unit="file"):
        try:
            lost = decode_one(source, target, codec_of, options)
            if lost:
                damaged += 1
                cli.say(f"{source}: damaged, {target} is what is left: lost {', '.join(lost)}")
        except BrokenPipeError:
            raise
        except Exception as error:
            failed += 1
            cli.say(f"{source}: {explain(error, source)}")
    if len(pairs) > 1 and failed < len(pairs):
        done = len(pairs) - failed
        cli.say(f"{done} picture{'s' * (done > 1)} in {settings.output or ', '.join(settings.inputs)}")
    elif not (failed or damaged) and pairs[0][1] != "-":
        cli.say(f"the picture is {pairs[0][1]}")
    return cli.SOME_FAILED if failed or damaged else cli.DONE


def decode_one(
    source: str, target: str, codec_of: "Callable[[bytes], AnyCodec]", options: DecodeOptions
) -> tuple[str, ...]:
    """Decode one .rdo file to a PNG file, and return what was lost; `-` is standard input or output.

    Raises:
        RdoError, OSError: the file cannot be decoded, or the picture not written.
        ConfigError: another picture has the name `target`, and may not be replaced.
    """
    from codec.coding import decode
    from codec.errors import ConfigError
    from codec.files import write_atomically
    from codec.images.formats import write_png

    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    codec = codec_of(data)
    decoded = decode(codec, data, crop=options.crop, salvage=options.salvage, pixels_max=options.pixels_max)
    png, path = write_png(decoded.pixels), Path(target)
    if target == "-":
        sys.stdout.buffer.write(png)
        sys.stdout.buffer.flush()
    elif options.overwrite or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, png)
    elif path.read_bytes() != png:  # equal bytes are an earlier run's
        raise ConfigError(f"{target} exists: name another with -o, or pass --overwrite to replace it")
    return decoded.damage


def parse_crop(text: str) -> "Rect":
    """Return the rectangle of `WxH+X+Y`.

    Raises:
        ConfigError: the text is not of that form, or of no pixels.
    """
    from codec.bitstream.tiles import Rect
    from codec.errors import ConfigError

    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})\+(\d{1,9})\+(\d{1,9})", text, re.ASCII)
    width, height, left, top = map(int, found.groups()) if found else (0, 0, 0, 0)
    if not width or not height:
        raise ConfigError(f"--crop {text}: write WxH+X+Y in pixels, as in 800x600+1200+900")
    return Rect(left, top, left + width, top + height)


def output_names(inputs: list[str], output: str | None) -> list[tuple[str, str]]:
    """Return (file, picture) of every .rdo file named or found below a named folder.

    Raises:
        ConfigError: nothing found, one output for several files, or an output that is not a PNG file.
    """
    from codec.errors import ConfigError
    from codec.images.find import SUFFIXES
    from jobs.running.rdo_files import find_rdo_files

    found, standard, folder = find_rdo_files(inputs), inputs == ["-"], Path(output or ".")
    single = output == "-" or (folder.suffix.lower() == ".png" and not folder.is_dir())
    if standard and output is not None and not single:
        raise ConfigError(f"-o {output}: standard input has no name; name its .png file, or - for standard output")
    if not single and folder.suffix.lower() in SUFFIXES and not folder.is_dir():
        raise ConfigError(f"-o {output}: name a folder, or one file that ends in .png")
    if standard:
        return [("-", output or "-")]
    if output is not None and single:
        if len(found) > 1:
            raise ConfigError(f"{output}: names one picture, but there are {len(found)} files: name a folder")
        return [(str(found[0][0]), output)]
    named = ((str(p), str((Path(output) / r if output else p).with_suffix(".png"))) for p, r in found)
    pairs = list(dict.fromkeys(named))
    if len({target for _, target in pairs}) < len(pairs):
        raise ConfigError("two of the named files would become the same picture: decode them into two folders")
    return pairs
