"""Parts of all commands: flags, exit statuses, errors as one line, text for a terminal."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from jobs.runtime import before_torch, keep_memory, leave_quickly, settle_streams

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DONE, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
MODEL = "small"
EFFORT_HELP = "1 (2 steps) to 9 (640): more steps, smaller files (default 5, 40 steps)"
MEGAPIXELS_MAX = 200.0  # of a picture that memory is taken for, unless a flag says otherwise
DataclassT = TypeVar("DataclassT", bound="DataclassInstance")


def parser(name: str, purpose: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser that shows defaults and examples, and suggests the nearest flag for an unknown one."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        def _get_help_string(self, action: argparse.Action) -> str | None:
            says_nothing = action.default is None or action.default is False or action.default == []
            return action.help if says_nothing else super()._get_help_string(action)

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            known = [flag for flag in self._option_string_actions if flag.startswith("--")]
            words = message.split() if message.startswith("unrecognized") else []
            wrong = [word.split("=")[0] for word in words if word.startswith("--")]
            nearest = [flag for word in wrong if word not in known for flag in get_close_matches(word, known, 1, 0.75)]
            super().error(f"{message}; did you mean {nearest[0]}?" if nearest else message)

    return Parser(
        prog=name, description=purpose, epilog=f"examples:\n{examples}", formatter_class=Formatter, allow_abbrev=False
    )


def add_picture_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags for images that are not opaque 8-bit stills, the fields of `ImagePolicy`."""
    pictures = flags.add_argument_group("pictures")
    pictures.add_argument(
        "--alpha",
        choices=("refuse", "drop", "blend"),
        default="refuse",
        help="transparent pictures: blend puts white behind",
    )
    pictures.add_argument("--depth", type=int, choices=(8,), help="round deeper pictures to 8 bits, else refuse them")
    pictures.add_argument("--first-frame", action="store_true", help="take an animation's, else refuse it")
    pictures.add_argument(
        "--ignore-icc", action="store_true", help="take samples as sRGB where the ICC profile cannot be applied"
    )
    pictures.add_argument(
        "--hdr",
        choices=("refuse", "clip"),
        default="refuse",
        help="HDR (PQ, HLG): clip what is brighter than white paper",
    )
    pictures.add_argument(
        "--gamut",
        choices=("srgb", "keep"),
        default="srgb",
        help="keep stores wider colours as they are, with their ICC profile, instead of converting them",
    )
    add_size_flag(pictures)


def add_url_note(flags: argparse.ArgumentParser, more: str = "") -> None:
    """Add to the help of a command that its files may be URLs, and `more` about them."""
    flags.add_argument_group(
        "URLs",
        "Files and folders may be s3://BUCKET/FOLDER, gs://, az:// or sftp://HOST/FOLDER, and what is read https://;\n"
        'pip install ".[cloud]" has s3 and sftp, gcsfs is for gs and adlfs for az. Credentials are those of the\n'
        f"environment: AWS_PROFILE, AWS_ENDPOINT_URL, an ssh agent or FSSPEC_SFTP_PASSWORD, ... {more}",
    )


def add_size_flag(flags: argparse._ActionsContainer) -> None:
    """Add --max-megapixels."""
    flags.add_argument(
        "--max-megapixels", type=float, default=MEGAPIXELS_MAX, metavar="MP", help="refuse larger pictures"
    )


def pixels_of(megapixels: float) -> int:
    """Return the pixels of a limit in megapixels.

    Raises:
        ConfigError: it is not positive and finite.
    """
    from codec.errors import ConfigError

    if not 0 < megapixels < math.inf:
        raise ConfigError(f"--max-megapixels {megapixels:g}: must be positive and finite")
    return math.floor(megapixels * 1e6)


def from_flags(kind: type[DataclassT], arguments: argparse.Namespace) -> DataclassT:
    """Return a dataclass filled from the flags named as its fields; flags that the command lacks keep defaults."""
    names = {f.name for f in fields(kind)}
    return kind(**{name: value for name, value in vars(arguments).items() if name in names})


def numbers(text: str, flag: str) -> list[float]:
    """Return the numbers of a comma-separated list, ascending and without duplicates.

    Raises:
        ConfigError: an entry is no number.
    """
    from codec.errors import ConfigError

    try:
        return sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise ConfigError(f"{flag} {text}: write numbers between commas") from None


def whole(value: float) -> int:
    """Return a number of steps as an integer.

    Raises:
        ConfigError: it is negative or not whole.
    """
    from codec.errors import ConfigError

    if not math.isfinite(value) or value < 0 or value != int(value):
        raise ConfigError(f"--iters {value:g}: write whole numbers, 0 or more")
    return int(value)


def add_model_flags(flags: argparse._ActionsContainer, reads: bool = False) -> None:
    """Add --model and --device; where a command `reads` .rdo files, the default model is the one in the file."""
    default = " (default: the one that a file names)" if reads else ""
    flags.add_argument(
        "--model",
        default=None if reads else MODEL,
        help="installed model (rdo-models), checkpoint, compressai:NAME[:QUALITY][:FILE] or package.module:function"
        + default,
    )
    flags.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit status: an error is printed as one line, Ctrl-C or SIGTERM is status 130."""
    from codec.errors import RdoError, StorageError

    settle_streams()
    before_torch()
    keep_memory()
    leave_quickly()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return command()
    except RdoError as error:
        say(f"error: {error}")
        return SOME_FAILED if isinstance(error, StorageError) else USAGE
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        mend = "check the path" if isinstance(error, FileNotFoundError) else "check the disk and the permissions"
        say(f"error: {where}{error.strerror or error}: {mend}")
        return SOME_FAILED
    except KeyboardInterrupt:
        say("interrupted: what was finished is kept")
        return INTERRUPTED


def print_bytes(data: bytes) -> None:
    """Write a file to standard output, at once.

    Raises:
        ConfigError: it was closed before the command began.
    """
    from codec.errors import ConfigError

    if getattr(sys.stdout, "name", None) == os.devnull:  # which is `settle_streams`' own
        raise ConfigError("standard output is closed: name a file with -o")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def shows_bars() -> bool:
    """Return whether standard error is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def say(text: str) -> None:
    """Print a line to stderr, above a progress bar, without the passwords of URLs in it."""
    from tqdm import tqdm

    from codec.urls import public

    tqdm.write(printable(public(text)), file=sys.stderr)


def printable(text: str) -> str:
    r"""Escape control characters as \n, \x1b, ...: as a terminal would execute those in file names."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def open_file(path: Path) -> None:
    """Show a file in the program that the system has for it."""
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        say(f"{path}: no program was found to show it")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
