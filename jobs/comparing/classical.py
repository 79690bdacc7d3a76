"""Classical codecs over a ladder of their settings: what a user would take instead.

All are measured as our own files are, on file bytes and decoded 8-bit pixels. Chroma is kept at full resolution
(4:4:4) wherever the format can, encoders that let one choose are tuned for PSNR, the figure they are judged by, and
each setting is printed. The invariant: a line of `classical.jsonl` names all that decides its bytes, so that a second
run does only what is missing.
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

from codec.images.formats import can_write, library_versions, read_as, write_as
from codec.images.pixels import Pixels
from jobs import jsonl
from jobs.record import score
from jobs.running.encoding import explain


class Ladder(NamedTuple):
    """A codec's settings: `option` runs through `values`, the rest is `fixed`.

    `wrap` makes the option's value, `plugin` is the module that brings the format, `package` what installs it.
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
    """One picture by one codec at one setting; `seconds` is the encoder's time. A failed one has `error` alone."""

    input: str
    pixels_sha256: str
    codec: str
    setting: str
    options: str
    bytes: int | None = None
    bpp: float | None = None
    psnr_db: float | None = None
    ms_ssim: float | None = None
    seconds: float | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What decides the file: pixels, codec, options with versions."""
        return self.pixels_sha256, self.codec, self.options


def available(names: list[str]) -> tuple[list[str], list[str]]:
    """The codecs among `names` that work here, and for each other one a line that says why not."""
    missing = {name: _why_not(LADDERS[name]) for name in names}
    return [n for n in names if not missing[n]], [f"{n} is left out: {why}" for n, why in missing.items() if why]


def settings_text(name: str) -> str:
    """A codec's ladder and options, to be printed."""
    ladder = LADDERS[name]
    fixed = ", ".join(f"{key} {value}" for key, value in ladder.fixed.items())
    return f"{ladder.option} {', '.join(map(str, ladder.values))}; {fixed}; chroma {ladder.chroma}; {_version(ladder)}"


def encode_ladders(
    name: str, pixels: Pixels, pixels_sha256: str, codecs: list[str], done: dict[tuple[str, str, str], ClassicalRecord]
) -> Iterator[ClassicalRecord]:
    """One picture by every codec at every setting, on all cores; what is in `done` is handed on with the new name."""
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
    """Encode, decode and measure; a failure is recorded."""
    ladder = LADDERS[task.codec]
    value = int(task.setting.rpartition(" ")[2])
    try:
        begin = time.monotonic()
        data = write_as(pixels, ladder.kind, {**ladder.fixed, ladder.option: ladder.wrap(value)})
        seconds = time.monotonic() - begin
        found = score(pixels, read_as(data, ladder.kind), len(data), lmbda=0.0)
    except Exception as error:  # a codec's verdict on one picture does not stop the run
        return replace(task, error=explain(error))
    return replace(
        task, bytes=found.bytes, bpp=found.bpp, psnr_db=found.psnr_db, ms_ssim=found.ms_ssim, seconds=seconds
    )


def append(path: Path, record: ClassicalRecord) -> None:
    """Add one line, flushed to the disk."""
    jsonl.append(path, json.dumps(asdict(record), allow_nan=False))


def read(path: Path) -> list[ClassicalRecord]:
    """What an earlier run measured; a line that is no record is passed over."""
    names = {f.name for f in fields(ClassicalRecord)}
    return jsonl.read(path, lambda found: ClassicalRecord(**{k: v for k, v in found.items() if k in names}))


def _why_not(ladder: Ladder) -> str | None:
    """Import what brings the format; the reason where that fails."""
    try:
        module = importlib.import_module(ladder.plugin) if ladder.plugin else None
    except ImportError:
        return f"not installed (pip install {ladder.package})"
    if module is not None and hasattr(module, "register_heif_opener"):
        module.register_heif_opener()
    return None if can_write(ladder.kind) else "this build of Pillow cannot write it"


def _options(ladder: Ladder, value: int) -> str:
    """All that decides a file's bytes besides its picture."""
    return f"{json.dumps({**ladder.fixed, ladder.option: value}, sort_keys=True)} {_version(ladder)}"


def _version(ladder: Ladder) -> str:
    pillow = library_versions()
    library = {"JPEG": "libjpeg_turbo", "JPEG2000": "jpg_2000", "WEBP": "webp", "AVIF": "avif"}.get(ladder.kind, "")
    inner = f", {library} {pillow[library]}" if library in pillow else ""
    if ladder.package:
        try:
            return f"{ladder.package} {version(ladder.package)}"
        except PackageNotFoundError:  # of a run on another machine
            return ladder.package
    return f"Pillow {pillow['Pillow']}{inner}"
