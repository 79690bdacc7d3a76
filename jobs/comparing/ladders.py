"""Ladders: classical codecs and the settings that they run through, each printed with its versions.

Chroma keeps full resolution (4:4:4) wherever the format can. A codec whose encoder can be tuned for a metric, or for
effort, has a ladder for each of these choices, and on each metric the report takes its best. The invariant: a ladder
runs exactly with the tuning that its name says, or it is left out with the reason.
"""

import importlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np

from codec.errors import ConfigError, first_line
from codec.images.formats import can_write, library_versions, write_as
from codec.images.pixels import Pixels

PROBE_PX = 16  # side of the picture that shows whether a ladder's options are taken


class Ladder(NamedTuple):
    """Settings of one codec: `option` runs through `values`, all others are `fixed`.

    Attributes:
        codec: name of the codec, which may have several ladders.
        kind: Pillow's name of the format.
        option: name of the encoder's option that sets the rate.
        values: its values, by ascending rate; their SSIMULACRA 2 covers 30 to 90 on most photographs.
        fixed: all other options of the encoder.
        chroma: subsampling, for the printed settings.
        wrap: conversion of a value to what the encoder takes.
        plugin: module that adds the format to Pillow.
        package: distribution that installs the plugin.
    """

    codec: str
    kind: str
    option: str
    values: tuple[int, ...]
    fixed: dict[str, Any]
    chroma: str = "4:4:4"
    wrap: Callable[[int], Any] = int
    plugin: str | None = None
    package: str | None = None


def _avif(tune: str) -> Ladder:
    options = {"subsampling": "4:4:4", "speed": 4, "max_threads": 1, "codec": "aom", "advanced": {"tune": tune}}
    return Ladder("AVIF", "AVIF", "quality", (10, 22, 33, 44, 55, 66, 78, 90), options)


def _jpeg_xl(effort: int) -> Ladder:
    return Ladder(
        "JPEG XL", "JXL", "quality", (5, 20, 35, 50, 65, 80, 90, 96), {"effort": effort, "num_threads": 1},
        plugin="pillow_jxl", package="pillow-jxl-plugin",
    )  # fmt: skip


LADDERS = {
    "JPEG": Ladder(
        "JPEG", "JPEG", "quality", (8, 15, 30, 50, 70, 88, 95),
        {"subsampling": 0, "optimize": True, "progressive": True},
    ),
    "JPEG 2000": Ladder(
        "JPEG 2000", "JPEG2000", "quality_layers", (150, 80, 45, 26, 16, 10, 6, 4),
        {"quality_mode": "rates", "irreversible": True, "mct": 1, "no_jp2": True}, wrap=lambda v: [v],
    ),
    "WebP": Ladder(
        "WebP", "WEBP", "quality", (1, 15, 30, 50, 70, 85, 93, 98), {"method": 6}, "4:2:0, the format has no other",
    ),
    "AVIF tune=ssim": _avif("ssim"),
    "AVIF tune=psnr": _avif("psnr"),
    "AVIF tune=iq": _avif("iq"),
    "AVIF tune=ssimulacra2": _avif("ssimulacra2"),
    "JPEG XL effort 7": _jpeg_xl(7),
    "JPEG XL effort 9": _jpeg_xl(9),
    "HEIC": Ladder(
        "HEIC", "HEIF", "quality", (8, 15, 24, 33, 42, 50, 58, 66), {"chroma": 444, "enc_params": {"tune": "psnr"}},
        plugin="pillow_heif", package="pillow-heif",
    ),
}  # fmt: skip


class Available(NamedTuple):
    """Ladders that can be run here, and a sentence on each that cannot."""

    ladders: list[str]
    notes: list[str]


def codec_of(name: str) -> str:
    """Return the codec that a ladder is of; any other name is a codec's own."""
    return LADDERS[name].codec if name in LADDERS else name


def available(codecs: list[str]) -> Available:
    """Check which ladders of the named codecs can be run here; a reason that all of a codec share is given once."""
    ladders, notes = [], []
    for codec in codecs:
        reasons = {name: _unavailable(ladder) for name, ladder in LADDERS.items() if ladder.codec == codec}
        ladders += [name for name, reason in reasons.items() if not reason]
        shared = set(reasons.values())
        if None not in shared and len(shared) == 1:
            reasons = {codec: shared.pop()}
        notes += [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason]
    return Available(ladders, notes)


def runnable(names: Sequence[str]) -> Available:
    """Keep those of the named ladders that can be run here, with a sentence on each that cannot."""
    reasons = {name: _unavailable(LADDERS[name]) for name in names}
    notes = [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason]
    return Available([name for name, reason in reasons.items() if not reason], notes)


def choose_codecs(text: str | None, all_by_default: bool) -> Available:
    """Choose classical codecs, each with all its ladders, by short names between commas, as jpeg,jpeg2000.

    Args:
        text: the names, or `none`; None chooses every codec or none.
        all_by_default: which of the two None chooses.

    Raises:
        ConfigError: an unknown name.
    """
    if text == "none" or (text is None and not all_by_default):
        return Available([], [])
    short = {ladder.codec.lower().replace(" ", ""): ladder.codec for ladder in LADDERS.values()}
    chosen = list(short) if text is None else [name.strip().lower() for name in text.split(",")]
    unknown = [name for name in chosen if name not in short]
    if unknown:
        raise ConfigError(f"--codecs {', '.join(unknown)}: unknown; there are {', '.join(short)}, or none")
    return available([short[name] for name in dict.fromkeys(chosen)])


def settings_text(name: str) -> str:
    """Describe a ladder, its options and versions in a line."""
    ladder = LADDERS[name]
    fixed = ", ".join(f"{key} {value}" for key, value in ladder.fixed.items())
    values = ", ".join(map(str, ladder.values))
    return f"{ladder.option} {values}; {fixed}; chroma {ladder.chroma}; {_versions(ladder)}"


def options_text(ladder: Ladder, value: int) -> str:
    """Return everything that decides a file's bytes besides its picture, as text."""
    return f"{json.dumps({**ladder.fixed, ladder.option: value}, sort_keys=True)} {_versions(ladder)}"


def encode(ladder: Ladder, pixels: Pixels, value: int) -> bytes:
    """Return the file of a picture at one value of a ladder.

    Raises:
        ImageError: the encoder refuses the picture or an option.
    """
    return write_as(pixels, ladder.kind, {**ladder.fixed, ladder.option: ladder.wrap(value)})


def _unavailable(ladder: Ladder) -> str | None:
    """Import a format's plugin and encode a small picture; return the reason where that cannot be done."""
    try:
        module = importlib.import_module(ladder.plugin) if ladder.plugin else None
    except ImportError:
        return f"not installed (pip install {ladder.package})"
    if module is not None and hasattr(module, "register_heif_opener"):
        module.register_heif_opener()
    if not can_write(ladder.kind):
        return "this build of Pillow cannot write it"
    try:  # an encoder older than a tuning refuses it; another tuning must not stand in for it
        encode(ladder, Pixels(np.zeros((PROBE_PX, PROBE_PX, 3), np.uint8), grey=False), ladder.values[-1])
    except Exception as error:  # plugins raise nearly any type
        return f"its encoder refuses these settings ({first_line(error)}; {_versions(ladder)})"
    return None


def _versions(ladder: Ladder) -> str:
    """Return names and versions of the encoder's package and libraries."""
    pillow = library_versions()
    if ladder.package:
        try:
            return f"{ladder.package} {version(ladder.package)}"
        except PackageNotFoundError:  # the record is of another machine
            return ladder.package
    libraries = {"JPEG": ("libjpeg_turbo",), "JPEG2000": ("jpg_2000",), "WEBP": ("webp",), "AVIF": ("avif", "aom")}
    inner = [f"{name} {pillow[name]}" for name in libraries.get(ladder.kind, ()) if name in pillow]
    return ", ".join([f"Pillow {pillow['Pillow']}", *inner])
