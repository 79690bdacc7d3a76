"""`rdo-decode`: .rdo files to pictures, PNG unless another format is asked for."""

import argparse
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobs import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from codec.bitstream.tiles import Rect
    from codec.images.metadata import Keeping
    from codec.images.outputs import OutputSettings
    from codec.interface import AnyCodec

FORMATS = ("png", "jpeg", "webp", "avif", "jxl", "tiff", "ppm")
EXAMPLES = """\
  rdo-decode rdo-out/                       rdo-out/a.jpg.rdo -> rdo-out/a.jpg.png
  rdo-decode -o pictures/ rdo-out/          the same tree below pictures/
  rdo-decode -o a.png a.rdo
  rdo-decode -o a.jpg --quality 90 a.rdo    by suffix: png jpg webp avif jxl tif ppm
  rdo-decode --format webp --lossless rdo-out/
  rdo-decode --open a.rdo                   and show it
  rdo-decode --crop 800x600+1200+900 a.rdo  a part of it, from the tiles that it needs
  rdo-decode --salvage damaged.rdo          grey where it is lost
  rdo-decode -o pictures/ s3://bucket/out   from a bucket, or into one
  rdo-decode - < a.rdo > a.png"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    flags = cli.parser("rdo-decode", "Decode .rdo files to PNG or another format.", EXAMPLES)
    flags.add_argument("inputs", nargs="+", metavar="FILE", help=".rdo files, folders or URLs; - is standard input")
    flags.add_argument("-o", "--output", help="folder, URL or picture; - is standard output (default: beside the file)")
    flags.add_argument("--format", choices=FORMATS, help="of the pictures (default: by suffix of -o, else png)")
    flags.add_argument("--quality", type=int, metavar="1..100", help="of jpeg, webp, avif and jxl (default 95)")
    flags.add_argument(
        "--lossless", action="store_true", help="of webp and jxl; the other formats are, or have no such"
    )
    flags.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="of Pillow's writer, as subsampling=2"
    )
    flags.add_argument(
        "--metadata", choices=("keep", "copyright", "drop"), default="keep", help="of what a file holds, to be written"
    )
    flags.add_argument("--preserve-times", action="store_true", help="give pictures the times of their files")
    flags.add_argument("--open", action="store_true", help="show the pictures in the program that the system has")
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
    cli.add_url_note(flags)
    return flags


@dataclass(frozen=True)
class DecodeRun:
    """Settings of one run of `rdo-decode`.

    Attributes:
        inputs: .rdo files or folders, by paths or URLs; `-` is standard input.
        output: folder, picture, or `-` for standard output; None is beside each file.
        model: name of the one model to use; None is the installed model that each file names.
        device: of the model.
        overwrite: whether to replace existing pictures.
        format: name of a format; None is by the suffix of `output`, else PNG.
        quality, lossless, option: of the format; options are texts KEY=VALUE.
        metadata: which of a file's is written.
        preserve_times: whether pictures get the times of their files.
        open: whether to show the pictures.
        crop: part to decode, `WxH+X+Y`; None is the whole picture.
        salvage: whether to write what is left of damaged files.
        max_megapixels: of the largest picture, or of the tiles that a crop needs, to take memory for.
    """

    inputs: list[str]
    output: str | None
    model: str | None
    device: str
    overwrite: bool
    format: str | None
    quality: int | None
    lossless: bool
    option: list[str]
    metadata: "Keeping"
    preserve_times: bool
    open: bool
    crop: str | None = None
    salvage: bool = False
    max_megapixels: float = cli.MEGAPIXELS_MAX

    def options(self) -> "DecodeOptions":
        """Return what decoding a file needs to know.

        Raises:
            ConfigError: a crop that is not `WxH+X+Y`, a limit that is not positive, or a format and a suffix that
                contradict each other.
        """
        crop = None if self.crop is None else parse_crop(self.crop)
        pixels_max, outputs = cli.pixels_of(self.max_megapixels), output_settings(self)
        return DecodeOptions(
            self.overwrite, crop, self.salvage, pixels_max, outputs, self.metadata, self.preserve_times, self.open
        )


class DecodeOptions(NamedTuple):
    """Settings of decoding and writing one file, with the fields of `DecodeRun`."""

    overwrite: bool
    crop: "Rect | None"
    salvage: bool
    pixels_max: int
    outputs: "OutputSettings"
    metadata: "Keeping"
    preserve_times: bool
    open: bool


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: decode_all(cli.from_flags(DecodeRun, arguments)))


def decode_all(settings: DecodeRun) -> int:
    """Decode the files of a run; return 1 if any failed."""
    from jobs.running.buckets import checked_input, checked_output

    inputs, output = [checked_input(name) for name in settings.inputs], checked_output(settings.output)
    settings = replace(settings, inputs=inputs, output=output)
    check_urls(settings)
    options = settings.options()
    pairs = output_names(settings.inputs, settings.output, options.outputs.format)

    from tqdm import tqdm

    from jobs.running.failures import explain
    from jobs.running.rdo_files import codec_loader

    codec_of = codec_loader(settings.model, cli.check_device(settings.device))
    failed = damaged = 0
    for source, target in tqdm(pairs, disable=len(pairs) < 2 or not cli.shows_bars(), file=sys.stderr, unit="file"):
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


def check_urls(settings: DecodeRun) -> None:
    """Check that a run asks nothing of files behind URLs that they lack.

    Raises:
        ConfigError: times are to be kept or pictures shown, or pictures would be written beside files of web pages.
    """
    from codec.errors import ConfigError
    from codec.urls import READ_ONLY, is_url, public, scheme_of

    urls = [name for name in settings.inputs if is_url(name)]
    target = settings.output if settings.output and is_url(settings.output) else None
    if settings.preserve_times and (urls or target):
        raise ConfigError("--preserve-times: files behind URLs have no times to give or take: leave it out")
    if settings.open and (target or (urls and not settings.output)):
        raise ConfigError("--open: of pictures on this machine: name a folder, or a picture, with -o")
    for url in urls:
        if settings.output is None and scheme_of(url) in READ_ONLY:
            raise ConfigError(f"{public(url)}: nothing can be written beside it: name a folder, or a picture, with -o")


def output_settings(settings: DecodeRun) -> "OutputSettings":
    """Return how the pictures of a run are written.

    Raises:
        ConfigError: a format and a suffix that contradict each other, or what the format does not have.
    """
    from codec.errors import ConfigError
    from codec.images.outputs import OutputSettings, format_of

    path = Path(settings.output or "")
    suffix = None if path.is_dir() else format_of(path)
    if settings.format and suffix and settings.format != suffix:
        raise ConfigError(f"-o {settings.output}: its suffix is that of {suffix}, but --format is {settings.format}")
    return OutputSettings(
        format=settings.format or suffix or "png",
        quality=settings.quality,
        lossless=settings.lossless,
        options=dict(_option(text) for text in settings.option),
    )


def _option(text: str) -> tuple[str, object]:
    """Return name and value of an option KEY=VALUE: a number, true or false, else a text.

    Raises:
        ConfigError: there is no = in it.
    """
    from codec.errors import ConfigError

    name, found, value = text.partition("=")
    if not found or not name:
        raise ConfigError(f"--option {text}: write KEY=VALUE")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def decode_one(
    source: str, target: str, codec_of: "Callable[[bytes], AnyCodec]", options: DecodeOptions
) -> tuple[str, ...]:
    """Decode one .rdo file to a picture, and return what was lost; `-` is standard input or output.

    Raises:
        RdoError, OSError: the file cannot be decoded, or the picture not written.
        ConfigError: another picture has the name `target`, and may not be replaced.
    """
    from codec import places
    from codec.allocator import release_memory
    from codec.coding import decode
    from codec.errors import ConfigError
    from codec.files import copy_times
    from codec.images.metadata import kept
    from codec.images.outputs import write_picture
    from codec.metadata_boxes import metadata_of

    data = sys.stdin.buffer.read() if source == "-" else places.read(source)
    decoded = decode(
        codec_of(data), data, crop=options.crop, salvage=options.salvage, pixels_max=options.pixels_max,
        keep_latents=False,
    )  # fmt: skip
    release_memory()  # that decoding took, before the picture's is
    pixels = decoded.pixels
    metadata = kept(metadata_of(decoded.boxes), options.metadata, width=pixels.width, height=pixels.height)
    picture = write_picture(pixels, metadata, options.outputs)
    if target == "-":
        sys.stdout.buffer.write(picture)
        sys.stdout.buffer.flush()
        return decoded.damage
    if options.overwrite or not places.exists(target):
        places.write(target, picture)
    elif places.read(target) != picture:  # equal bytes are an earlier run's
        raise ConfigError(f"{target} exists: name another with -o, or pass --overwrite to replace it")
    if options.preserve_times and source != "-":
        copy_times(Path(source), Path(target))
    if options.open:
        cli.open_file(Path(target))
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


def output_names(inputs: list[str], output: str | None, kind: str = "png") -> list[tuple[str, str]]:
    """Return (file, picture) of every .rdo file named or found below a named folder.

    Args:
        kind: name of the pictures' format.

    Raises:
        ConfigError: nothing found, one output for several files, or an output that is no picture of this format.
    """
    from codec.errors import ConfigError
    from codec.images.find import SUFFIXES
    from codec.images.outputs import FORMATS as OUTPUTS
    from codec.images.outputs import format_of
    from codec.places import joined, with_suffix
    from codec.urls import is_url
    from jobs.running.rdo_files import find_rdo_files

    found, standard, folder = find_rdo_files(inputs), inputs == ["-"], Path(output or ".")
    suffix = OUTPUTS[kind].suffixes[0]
    is_folder = not is_url(output or "") and folder.is_dir()
    single = output == "-" or (format_of(folder) == kind and not is_folder)
    if standard and output is not None and not single:
        raise ConfigError(f"-o {output}: standard input has no name; name its picture, or - for standard output")
    if not single and folder.suffix.lower() in SUFFIXES and not is_folder:
        known = " ".join(each.suffixes[0] for each in OUTPUTS.values())
        raise ConfigError(f"-o {output}: name a folder, or one picture that ends in one of {known}")
    if standard:
        return [("-", output or "-")]
    if output is not None and single:
        if len(found) > 1:
            raise ConfigError(f"{output}: names one picture, but there are {len(found)} files: name a folder")
        return [(found[0][0], output)]
    named = ((name, with_suffix(joined(output, relative) if output else name, suffix)) for name, relative in found)
    pairs = list(dict.fromkeys(named))
    if len({target for _, target in pairs}) < len(pairs):
        raise ConfigError("two of the named files would become the same picture: decode them into two folders")
    return pairs
