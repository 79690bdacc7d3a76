"""`rdo-decode`: .rdo files to PNG files."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from codec.interface import AnyCodec

EXAMPLES = """\
  rdo-decode rdo-out/                       rdo-out/a.jpg.rdo -> rdo-out/a.jpg.png
  rdo-decode -o pictures/ rdo-out/          the same tree below pictures/
  rdo-decode -o a.png a.rdo
  rdo-decode - < a.rdo > a.png"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    flags = cli.parser("rdo-decode", "Decode .rdo files to PNG.", EXAMPLES)
    flags.add_argument("inputs", nargs="+", metavar="FILE", help=".rdo files or folders; - is standard input")
    flags.add_argument(
        "-o", "--output", help="folder, or one .png file; - is standard output (default: beside the file)"
    )
    flags.add_argument("--overwrite", action="store_true", help="replace existing pictures")
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
    """

    inputs: list[str]
    output: str | None
    model: str | None
    device: str
    overwrite: bool


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: decode_all(cli.from_flags(DecodeRun, arguments)))


def decode_all(settings: DecodeRun) -> int:
    """Decode the files of a run; return 1 if any failed."""
    pairs = output_names(settings.inputs, settings.output)

    from tqdm import tqdm

    from jobs.running.failures import explain
    from jobs.running.rdo_files import codec_loader

    codec_of = codec_loader(settings.model, cli.check_device(settings.device))
    failed = 0
    for source, target in tqdm(pairs, disable=True if len(pairs) < 2 else None, file=sys.stderr, unit="file"):
        try:
            decode_one(source, target, codec_of, settings.overwrite)
        except BrokenPipeError:
            raise
        except Exception as error:
            failed += 1
            cli.say(f"{source}: {explain(error, source)}")
    if len(pairs) > 1 and failed < len(pairs):
        done = len(pairs) - failed
        cli.say(f"{done} picture{'s' * (done > 1)} in {settings.output or ', '.join(settings.inputs)}")
    elif not failed and pairs[0][1] != "-":
        cli.say(f"the picture is {pairs[0][1]}")
    return cli.SOME_FAILED if failed else cli.DONE


def decode_one(source: str, target: str, codec_of: "Callable[[bytes], AnyCodec]", overwrite: bool) -> None:
    """Decode one .rdo file to a PNG file; `-` is standard input or output.

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
    png, path = write_png(decode(codec, data).pixels), Path(target)
    if target == "-":
        sys.stdout.buffer.write(png)
        sys.stdout.buffer.flush()
    elif overwrite or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, png)
    elif path.read_bytes() != png:  # equal bytes are an earlier run's
        raise ConfigError(f"{target} exists: name another with -o, or pass --overwrite to replace it")


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
