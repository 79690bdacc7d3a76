"""Classical codecs, each over a ladder of its settings.

All are measured as .rdo files are: on file bytes and decoded 8-bit pixels. Chroma keeps full resolution (4:4:4)
wherever the format can, encoders with a choice are tuned for PSNR, the metric of the comparison, and each setting is
printed. The invariant: a line of `classical.jsonl` names everything that decides its bytes, so that a second run
encodes only what is missing.
"""

import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from codec.errors import ConfigError
from codec.images.formats import can_write, library_versions, read_as, write_as
from codec.images.pixels import Pixels
from jobs import jsonl
from jobs.record import score
from jobs.running.failures import explain


class Ladder(NamedTuple):
    """Settings of one codec: `option` runs through `values`, all others are `fixed`.

    Attributes:
        kind: Pillow's name of the format.
        option: name of the encoder's option that sets the rate.
        values: its values, by ascending rate.
        fixed: all other options of the encoder.
        chroma: subsampling, for the printed settings.
        wrap: conversion of a value to what the encoder takes.
        plugin: module that adds the format to Pillow.
        package: distribution that installs the plugin.
    """

    kind: str
    option: str
    values: tuple[int, ...]
    fixed: dict[str, Any]
    chroma: str = "4:4:4"
    wrap: Callable[[int], Any] = int
    plugin: str | None = None
    package: str | None = None


LADDERS = {
    "JPEG": Ladder(
        "JPEG", "quality", (8, 15, 30, 50, 70, 88), {"subsampling": 0, "optimize": True, "progressive": True},
    ),
    "JPEG 2000": Ladder(
        "JPEG2000", "quality_layers", (150, 80, 45, 26, 16, 10),
        {"quality_mode": "rates", "irreversible": True, "mct": 1, "no_jp2": True}, wrap=lambda v: [v],
    ),
    "WebP": Ladder("WEBP", "quality", (5, 30, 50, 70, 85, 93), {"method": 6}, "4:2:0, the format has no other"),
    "AVIF": Ladder(
        "AVIF", "quality", (15, 28, 41, 54, 67, 80),
        {"subsampling": "4:4:4", "speed": 6, "max_threads": 1, "advanced": {"tune": "psnr"}},
    ),
    "JPEG XL": Ladder(
        "JXL", "quality", (10, 30, 50, 70, 85, 93), {"effort": 7, "num_threads": 1},
        plugin="pillow_jxl", package="pillow-jxl-plugin",
    ),
    "HEIC": Ladder(
        "HEIF", "quality", (15, 24, 33, 42, 50, 58), {"chroma": 444, "enc_params": {"tune": "psnr"}},
        plugin="pillow_heif", package="pillow-heif",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ClassicalRecord:
    """Measurement of one picture with one codec at one setting; `seconds` is encoding time, failures have only `error`.

    `options` holds all of the encoder's options and its library's version.
    """

    input: str
    pixels_sha256: str
    codec: str
    setting: str
    options: str
    bytes: int | None = None
    bpp: float | None = None
    psnr_db: float | None = None
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    seconds: float | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity of the file: hash of its pixels, codec, options with version."""
        return self.pixels_sha256, self.codec, self.options


class Available(NamedTuple):
    """Codecs that can be run here, and a sentence on each that cannot."""

    codecs: list[str]
    notes: list[str]


def available(names: list[str]) -> Available:
    """Check which of the named codecs can be run here."""
    reasons = {name: _unavailable(LADDERS[name]) for name in names}
    return Available(
        codecs=[name for name in names if not reasons[name]],
        notes=[f"{name} is left out: {reason}" for name, reason in reasons.items() if reason],
    )


def choose_codecs(text: str | None, all_by_default: bool) -> Available:
    """Choose classical codecs by their short names between commas, as jpeg,jpeg2000.

    Args:
        text: the names, or `none`; None chooses every codec or none.
        all_by_default: which of the two None chooses.

    Raises:
        ConfigError: an unknown name.
    """
    if text == "none" or (text is None and not all_by_default):
        return Available([], [])
    short = {name.lower().replace(" ", ""): name for name in LADDERS}
    chosen = list(short) if text is None else [name.strip().lower() for name in text.split(",")]
    unknown = [name for name in chosen if name not in short]
    if unknown:
        raise ConfigError(f"--codecs {', '.join(unknown)}: unknown; there are {', '.join(short)}, or none")
    return available([short[name] for name in dict.fromkeys(chosen)])


def settings_text(name: str) -> str:
    """Describe a codec's ladder, options and version in a line."""
    ladder = LADDERS[name]
    fixed = ", ".join(f"{key} {value}" for key, value in ladder.fixed.items())
    return f"{ladder.option} {', '.join(map(str, ladder.values))}; {fixed}; chroma {ladder.chroma}; {_version(ladder)}"


def encode_ladders(
    *,
    name: str,
    pixels: Pixels,
    pixels_sha256: str,
    codecs: list[str],
    done: dict[tuple[str, str, str], ClassicalRecord],
) -> Iterator[ClassicalRecord]:
    """Encode one picture with every codec at every setting, on all cores.

    Records in `done`, by their key, are not encoded again; they are yielded first, with this picture's name.
    """
    tasks = [
        ClassicalRecord(name, pixels_sha256, codec, f"{LADDERS[codec].option} {value}", _options(LADDERS[codec], value))
        for codec in codecs
        for value in LADDERS[codec].values
    ]
    finished = [done[t.key] for t in tasks if t.key in done]
    yield from (replace(record, input=name) for record in finished)
    missing = [t for t in tasks if t.key not in done]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many settings at once share the cores better than many threads for each
    try:
        with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(lambda task: encode_setting(task, pixels), missing)
    finally:
        torch.set_num_threads(threads)


def encode_setting(task: ClassicalRecord, pixels: Pixels) -> ClassicalRecord:
    """Encode, decode and measure one setting; return a record of the failure where the codec fails."""
    ladder = LADDERS[task.codec]
    value = int(task.setting.rpartition(" ")[2])
    try:
        begin = time.monotonic()
        data = write_as(pixels, ladder.kind, {**ladder.fixed, ladder.option: ladder.wrap(value)})
        seconds = time.monotonic() - begin
        measured = score(pixels, read_as(data, ladder.kind), len(data), lmbda=0.0)
    except Exception as error:  # a codec that fails on one picture does not stop the run
        return replace(task, error=explain(error))
    return replace(
        task,
        bytes=measured.bytes,
        bpp=measured.bpp,
        psnr_db=measured.psnr_db,
        ms_ssim=measured.ms_ssim,
        ssimulacra2=measured.ssimulacra2,
        seconds=seconds,
    )


def append_point(path: Path, record: ClassicalRecord) -> None:
    """Append a record to a file of JSON lines, flushed to the disk."""
    jsonl.append(path, json.dumps(asdict(record), allow_nan=False))


def read_points(path: Path) -> list[ClassicalRecord]:
    """Read the records of earlier runs; lines that hold none are passed over."""
    names = {f.name for f in fields(ClassicalRecord)}
    return jsonl.read(path, lambda found: ClassicalRecord(**{k: v for k, v in found.items() if k in names}))


def _unavailable(ladder: Ladder) -> str | None:
    """Import a format's plugin; return the reason where the format cannot be written."""
    try:
        module = importlib.import_module(ladder.plugin) if ladder.plugin else None
    except ImportError:
        return f"not installed (pip install {ladder.package})"
    if module is not None and hasattr(module, "register_heif_opener"):
        module.register_heif_opener()
    return None if can_write(ladder.kind) else "this build of Pillow cannot write it"


def _options(ladder: Ladder, value: int) -> str:
    """Return everything that decides a file's bytes besides its picture, as text."""
    return f"{json.dumps({**ladder.fixed, ladder.option: value}, sort_keys=True)} {_version(ladder)}"


def _version(ladder: Ladder) -> str:
    """Return name and version of the encoder's package and library."""
    pillow = library_versions()
    library = {"JPEG": "libjpeg_turbo", "JPEG2000": "jpg_2000", "WEBP": "webp", "AVIF": "avif"}.get(ladder.kind, "")
    inner = f", {library} {pillow[library]}" if library in pillow else ""
    if ladder.package:
        try:
            return f"{ladder.package} {version(ladder.package)}"
        except PackageNotFoundError:  # the record is of another machine
            return ladder.package
    return f"Pillow {pillow['Pillow']}{inner}"
