"""`rdo-view`: a .rdo file beside its original, on a page that compares the two under a slider."""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli
from jobs.runtime import check_device

if TYPE_CHECKING:
    from codec.images.read import ImagePolicy
    from jobs.comparing.file_page import Side
    from jobs.record import Record

EXAMPLES = """\
  rdo-view rdo-out/a.jpg.rdo                    the original is found by its record
  rdo-view --original a.jpg a.rdo
  rdo-view -o a.html --no-open a.rdo            one file that can be sent"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `rdo-view`."""
    flags = cli.parser("rdo-view", "Compare a .rdo file and its original on a page.", EXAMPLES)
    flags.add_argument("file", metavar="FILE", help=".rdo file")
    flags.add_argument(
        "--original",
        type=Path,
        metavar="PICTURE",
        help="the picture that FILE was made of, where no results.jsonl of its run is beside it",
    )
    flags.add_argument("-o", "--output", type=Path, help="the page, one .html file (default: a temporary one)")
    flags.add_argument("--no-open", action="store_true", help="write the page without showing it")
    cli.add_picture_flags(flags)
    cli.add_model_flags(flags, reads=True)
    return flags


@dataclass(frozen=True)
class ViewRun:
    """Settings of one run of `rdo-view`.

    Attributes:
        file: .rdo file.
        original: picture that it was made of; None is by its record.
        output: page to write; None is a temporary one.
        no_open: whether the page is not shown.
        model, device: that decode the file; None is the installed model that the file names.
        policy: by which the original is read.
    """

    file: str
    original: Path | None
    output: Path | None
    no_open: bool
    model: str | None
    device: str
    policy: "ImagePolicy"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: view(parse(arguments)))


def parse(arguments: argparse.Namespace) -> ViewRun:
    """Return the settings of a run from its flags."""
    from codec.images.read import ImagePolicy

    return ViewRun(
        file=arguments.file,
        original=arguments.original,
        output=arguments.output,
        no_open=arguments.no_open,
        model=arguments.model,
        device=arguments.device,
        policy=cli.from_flags(ImagePolicy, arguments),
    )


def view(settings: ViewRun) -> int:
    """Write the page of a file and show it.

    Raises:
        RdoError, OSError: the file cannot be decoded, its original not read, or the page not written.
    """
    from codec.files import write_atomically
    from jobs.comparing.file_page import render

    file, lmbda = _decoded(settings)
    record = None if settings.original else find_record(Path(settings.file))
    original = _original(settings, record)
    score = None
    if original:
        from codec.errors import ConfigError
        from jobs.record import score as measure

        if original.pixels.data.shape != file.pixels.data.shape:
            what = f"{original.pixels.width} x {original.pixels.height} px"
            size = f"{file.pixels.width} x {file.pixels.height}"
            raise ConfigError(f"{original.name}: {what}, but the file holds {size}: name its original")
        score = measure(original.pixels, file.pixels, file.bytes, lmbda=lmbda)
    page = settings.output or Path(tempfile.mkdtemp(prefix="rdo-view-")) / f"{Path(settings.file).name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, render(file, original, score).encode())
    cli.say(f"the page is {page}")
    if not settings.no_open:
        cli.open_file(page)
    return cli.DONE


def _decoded(settings: ViewRun) -> "tuple[Side, float]":
    """Return the decoded file, and the weight of its distortion that suits its quality."""
    from codec.architecture import lmbda_of
    from codec.coding import decode
    from codec.errors import BitstreamError
    from codec.metadata_boxes import metadata_of
    from jobs.comparing.file_page import Side
    from jobs.running.rdo_files import codec_loader

    data = Path(settings.file).read_bytes()
    try:
        codec = codec_loader(settings.model, check_device(settings.device))(data)
        pixels_max = cli.pixels_of(settings.policy.max_megapixels)
        decoded = decode(codec, data, pixels_max=pixels_max, keep_latents=False)
    except BitstreamError as error:
        raise BitstreamError(f"{settings.file}: {error}") from error
    side = Side(decoded.pixels, metadata_of(decoded.boxes).profile, settings.file, len(data))
    return side, lmbda_of(decoded.header.quality)


def _original(settings: ViewRun, record: "Record | None") -> "Side | None":
    """Return the picture that a file was made of; None where neither a flag nor a record names one that is there."""
    from dataclasses import replace

    from codec.images.read import read_picture
    from jobs.comparing.file_page import Side

    path, policy = settings.original, settings.policy
    if record is not None and record.input_path.is_file():
        path, policy = record.input_path, replace(policy, **(record.policy or {}))  # type: ignore[arg-type]
    if path is None:
        return None
    picture = read_picture(path, policy, str(path))
    return Side(picture.pixels, picture.metadata.profile, str(path), path.stat().st_size)


def find_record(path: Path) -> "Record | None":
    """Return the last record of a file in the results of a run above it, None where there is none."""
    from jobs.record import canonical_path, read_records
    from jobs.running.record_log import RESULTS

    own = canonical_path(path)
    for folder in own.parents:
        records = read_records(folder / RESULTS) if (folder / RESULTS).is_file() else []
        found = [record for record in records if record.outcome and record.output_path == own]
        if found:
            return found[-1]
    return None
