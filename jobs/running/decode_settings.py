"""Settings of `rdo-decode`: what a run reads and writes, and how one file is decoded."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from codec.bitstream.tiles import Rect
from codec.errors import ConfigError
from codec.images.find import SUFFIXES
from codec.images.metadata import Keeping
from codec.images.outputs import FORMATS, OutputSettings, format_of
from codec.places import joined, with_suffix
from codec.urls import READ_ONLY, is_url, public, scheme_of
from jobs import cli
from jobs.running.rdo_files import find_rdo_files


class DecodeOptions(NamedTuple):
    """Settings of decoding and writing one file, with the fields of `DecodeRun`."""

    overwrite: bool
    crop: Rect | None
    salvage: bool
    pixels_max: int
    outputs: OutputSettings
    metadata: Keeping
    preserve_times: bool
    open: bool


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
    metadata: Keeping
    preserve_times: bool
    open: bool
    crop: str | None = None
    salvage: bool = False
    max_megapixels: float = cli.MEGAPIXELS_MAX

    def options(self) -> DecodeOptions:
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


def check_urls(settings: DecodeRun) -> None:
    """Check that a run asks nothing of files behind URLs that they lack.

    Raises:
        ConfigError: times are to be kept or pictures shown, or pictures would be written beside files of web pages.
    """
    urls = [name for name in settings.inputs if is_url(name)]
    target = settings.output if settings.output and is_url(settings.output) else None
    if settings.preserve_times and (urls or target):
        raise ConfigError("--preserve-times: files behind URLs have no times to give or take: leave it out")
    if settings.open and (target or (urls and not settings.output)):
        raise ConfigError("--open: of pictures on this machine: name a folder, or a picture, with -o")
    for url in urls:
        if settings.output is None and scheme_of(url) in READ_ONLY:
            raise ConfigError(f"{public(url)}: nothing can be written beside it: name a folder, or a picture, with -o")


def output_settings(settings: DecodeRun) -> OutputSettings:
    """Return how the pictures of a run are written.

    Raises:
        ConfigError: a format and a suffix that contradict each other, or what the format does not have.
    """
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


def parse_crop(text: str) -> Rect:
    """Return the rectangle of `WxH+X+Y`.

    Raises:
        ConfigError: the text is not of that form, or of no pixels.
    """
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
    found, standard, folder = find_rdo_files(inputs), inputs == ["-"], Path(output or ".")
    suffix = FORMATS[kind].suffixes[0]
    is_folder = not is_url(output or "") and folder.is_dir()
    single = output == "-" or (format_of(folder) == kind and not is_folder)
    if standard and output is not None and not single:
        raise ConfigError(f"-o {output}: standard input has no name; name its picture, or - for standard output")
    if not single and folder.suffix.lower() in SUFFIXES and not is_folder:
        known = " ".join(each.suffixes[0] for each in FORMATS.values())
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
