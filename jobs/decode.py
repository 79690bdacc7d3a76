"""`rdo-decode`: .rdo files to PNG."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from codec.interface import AnyCodec

EXAMPLES = """\
  rdo-decode rdo-out/                       rdo-out/a.jpg.rdo -> rdo-out/a.jpg.png
  rdo-decode -o pictures/ rdo-out/          the same tree below pictures/
  rdo-decode -o a.png a.rdo
  rdo-decode - < a.rdo > a.png"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of the command."""
    flags = cli.parser("rdo-decode", "Decode .rdo files to PNG.", EXAMPLES)
    flags.add_argument("inputs", nargs="+", metavar="FILE", help=".rdo files or folders; - is standard input")
    flags.add_argument(
        "-o", "--output", help="folder, or one .png file; - is standard output (default: beside the file)"
    )
    flags.add_argument("--overwrite", action="store_true", help="replace existing pictures")
    cli.add_model_flags(flags, reads=True)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `cli` for exit statuses."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: decode_all(arguments))


def decode_all(arguments: argparse.Namespace) -> int:
    """Decode what the arguments name; 1 if any file failed."""
    pairs = output_names(arguments.inputs, arguments.output)

    from tqdm import tqdm

    from codec.coding import decode
    from codec.errors import ConfigError
    from codec.files import write_atomically
    from codec.images.formats import write_png
    from jobs.running.encoding import explain

    codec_of = reader(arguments.model, cli.check_device(arguments.device))
    failed = 0
    for source, target in tqdm(pairs, disable=True if len(pairs) < 2 else None, file=sys.stderr, unit="file"):
        try:
            data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
            codec = codec_of(data)
            png, there = write_png(decode(codec, data).pixels), Path(target)
            if target == "-":
                sys.stdout.buffer.write(png)
                sys.stdout.buffer.flush()
            elif arguments.overwrite or not there.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(there, png)
            elif there.read_bytes() != png:  # else an earlier run's
                raise ConfigError(f"{target} exists: name another with -o, or pass --overwrite to replace it")
        except BrokenPipeError:
            raise
        except Exception as error:
            failed += 1
            cli.say(f"{source}: {explain(error, source)}")
    if len(pairs) > 1 and failed < len(pairs):
        done = len(pairs) - failed
        cli.say(f"{done} picture{'s' * (done > 1)} in {arguments.output or ', '.join(arguments.inputs)}")
    elif not failed and pairs[0][1] != "-":
        cli.say(f"the picture is {pairs[0][1]}")
    return cli.SOME_FAILED if failed else cli.DONE


def reader(model: str | None, device: str) -> "Callable[[bytes], AnyCodec]":
    """Gives the codec for a file's bytes: that of a name, or of None the installed one that the file names."""
    from codec.bitstream.container import unpack
    from codec.checkpoint import installed_models
    from codec.identity import model_id
    from codec.loading import load

    loaded = {} if model is None else {model: load(model, device)}
    names = [model] if model is not None else [cli.MODEL, *(name for name in installed_models() if name != cli.MODEL)]

    def codec_of(data: bytes) -> "AnyCodec":
        wanted = unpack(data)[0].model_id
        for name in names:
            if name not in loaded:
                loaded[name] = load(name, device)
            if model_id(loaded[name]) == wanted:
                return loaded[name]
        return loaded[names[0]]  # whose refusal tells what to do

    return codec_of


def find_files(inputs: list[str]) -> list[tuple[Path, Path]]:
    """(path, name relative to what was named) of every .rdo file named, or found below a named folder.

    Raises:
        ConfigError: a folder holds none, or standard input is mixed with files.
    """
    from codec.errors import ConfigError
    from codec.images import find as folders

    if "-" in inputs:
        if len(inputs) > 1:
            raise ConfigError("-: standard input is one file and cannot be mixed with others")
        return [(Path("-"), Path("-"))]
    found: list[tuple[Path, Path]] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = folders.find_files(path, lambda file: file.name.endswith(".rdo"))
            below = [(file, file.relative_to(path)) for file in files]
            if not below:
                raise ConfigError(f"{name}: no .rdo files found")
            found += below
        else:
            found.append((path, Path(path.name)))
    return found


def output_names(inputs: list[str], output: str | None) -> list[tuple[str, str]]:
    """(file, picture) of every .rdo file named, or found below a named folder.

    Raises:
        ConfigError: nothing found, one output name for several files, or a name that is no PNG's.
    """
    from codec.errors import ConfigError
    from codec.images.find import SUFFIXES

    found, standard, folder = find_files(inputs), inputs == ["-"], Path(output or ".")
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
