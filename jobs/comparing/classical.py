"""Points of classical codecs, each over its ladders of settings.

All are measured as .rdo files are: on file bytes and decoded 8-bit pixels. The invariant: a line of `classical.jsonl`
names everything that decides its bytes, so that a second run encodes only what is missing.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch

from codec.images.formats import read_as
from codec.images.pixels import Pixels
from jobs import jsonl
from jobs.comparing.ladders import LADDERS, encode, options_text
from jobs.record import score
from jobs.running.failures import explain


@dataclass(frozen=True)
class ClassicalRecord:
    """Measurement of one picture at one setting of a ladder; `seconds` is encoding time, failures have only `error`.

    `codec` is the ladder's name, as AVIF tune=iq; `options` holds all of the encoder's options and versions.
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
    butteraugli: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity of the file: hash of its pixels, ladder, options with versions."""
        return self.pixels_sha256, self.codec, self.options


def encode_ladders(
    *,
    name: str,
    pixels: Pixels,
    pixels_sha256: str,
    ladders: list[str],
    done: dict[tuple[str, str, str], ClassicalRecord],
    with_butteraugli: bool = False,
) -> Iterator[ClassicalRecord]:
    """Encode one picture at every setting of every named ladder, on all cores.

    Records in `done`, by their key, are not encoded again; they are yielded first, with this picture's name.
    """
    tasks = [
        ClassicalRecord(name, pixels_sha256, key, f"{LADDERS[key].option} {value}", options_text(LADDERS[key], value))
        for key in ladders
        for value in LADDERS[key].values
    ]
    finished = [done[t.key] for t in tasks if t.key in done]
    yield from (replace(record, input=name) for record in finished)
    missing = [t for t in tasks if t.key not in done]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many settings at once share the cores better than many threads for each
    try:
        with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(lambda task: encode_setting(task, pixels, with_butteraugli=with_butteraugli), missing)
    finally:
        torch.set_num_threads(threads)


def encode_setting(task: ClassicalRecord, pixels: Pixels, *, with_butteraugli: bool = False) -> ClassicalRecord:
    """Encode, decode and measure one setting; return a record of the failure where the codec fails."""
    ladder = LADDERS[task.codec]
    value = int(task.setting.rpartition(" ")[2])
    try:
        begin = time.monotonic()
        data = encode(ladder, pixels, value)
        seconds = time.monotonic() - begin
        decoded = read_as(data, ladder.kind)
        measured = score(pixels, decoded, len(data), lmbda=0.0, with_butteraugli=with_butteraugli)
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
        butteraugli=measured.butteraugli,
    )


def append_point(path: Path, record: ClassicalRecord) -> None:
    """Append a record to a file of JSON lines, flushed to the disk."""
    jsonl.append(path, json.dumps(asdict(record), allow_nan=False))


def read_points(path: Path) -> list[ClassicalRecord]:
    """Read the records of earlier runs; lines that hold none are passed over."""
    names = {f.name for f in fields(ClassicalRecord)}
    return jsonl.read(path, lambda found: ClassicalRecord(**{k: v for k, v in found.items() if k in names}))
