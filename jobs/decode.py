"""`rdo-decode`: .rdo files to pictures, PNG unless another format is asked for."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs import cli
from jobs.runtime import check_device

if TYPE_CHECKING:
    from jobs.running.decode_settings import DecodeRun

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
    flags.add_argument("--format", choices=FORMATS, help="what to write (default: by suffix of -o, else png)")
    flags.add_argument("--quality", type=int, metavar="1..100", help="quality of jpeg, webp, avif and jxl (default 95)")
    flags.add_argument("--lossless", action="store_true", help="write webp or jxl losslessly, as png, tiff and ppm are")
    flags.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of Pillow's writer, as subsampling=2; may be repeated",
    )
    flags.add_argument(
        "--metadata", choices=("keep", "copyright", "drop"), default="keep", help="EXIF and XMP that pictures get"
    )
    flags.add_argument("--preserve-times", action="store_true", help="give pictures the times of their files")
    flags.add_argument("--open", action="store_true", help="show the pictures in the program that the system has")
    flags.add_argument("--overwrite", action="store_true", help="replace existing pictures")
    flags.add_argument("--crop", metavar="WxH+X+Y", help="decode W x H pixels alone, from column X and row Y on")
    flags.add_argument(
        "--salvage",
        action="store_true",
        help="write what is left of damaged files, grey where tiles are lost; the exit status stays 1",
    )
    cli.add_size_flag(flags)
    cli.add_model_flags(flags, reads=True)
    cli.add_url_note(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)

    def run() -> int:
        from jobs.running.decode_settings import DecodeRun

        return decode_all(cli.from_flags(DecodeRun, arguments))

    return cli.guarded(run)


def decode_all(settings: "DecodeRun") -> int:
    """Decode the files of a run; return 1 if any failed."""
    from tqdm import tqdm

    from jobs.running.buckets import checked_input, checked_output
    from jobs.running.decode_settings import check_urls, output_names
    from jobs.running.decoding import decode_one
    from jobs.running.failures import explain
    from jobs.running.rdo_files import codec_loader

    inputs, output = [checked_input(name) for name in settings.inputs], checked_output(settings.output)
    settings = replace(settings, inputs=inputs, output=output)
    check_urls(settings)
    options = settings.options()
    pairs = output_names(settings.inputs, settings.output, options.outputs.format)
    codec_of = codec_loader(settings.model, check_device(settings.device))
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
