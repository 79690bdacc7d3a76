"""Records: what is known of one image's encoding, a line of `results.jsonl` and a contract that others parse."""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from codec.images.pixels import Pixels
from codec.metrics.ms_ssim import ms_ssim
from codec.metrics.psnr import mse, psnr_db

SCHEMA = "rdo-record-1"
Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Score:
    """One file against its original: measured on the file's bytes and its decoded 8-bit pixels.

    `cost` is bpp + lmbda * distortion of what was optimised: that of the model, mse on 0..255 or MS-SSIM as
    `codec.metrics.distortion` has it, unless another was asked for. `psnr_db` is null for identical pictures,
    `ms_ssim`, as published, where a side is below 161 pixels.
    """

    bytes: int
    bpp: float
    psnr_db: float | None
    ms_ssim: float | None
    cost: float


@dataclass(frozen=True)
class Record:
    """Outcome of one image; a failed one has `error` and no scores.

    `gain_percent` is the fall of cost from `plain` to `refined`; `verified` says that the written bytes were
    decoded and gave the very latents that were meant. `seconds` is all of the image's wall time, reading to writing;
    `refine_seconds` is refinement's part of it, by `method` in `iters` steps. `input_stamp` is the input's size and
    times, see `jobs.running.history.stamp`. `config_hash` is of all settings, `aim_hash` of all but the effort; neither
    is of the image policy, of which `policy` has the decisions that this image needed. `cwd` is the folder that `input`
    and `output` start from, unless absolute. `iters_asked` are those of the settings, where a target takes more.
    """

    schema: str
    status: Status
    input: str
    output: str
    input_sha256: str | None = None
    output_sha256: str | None = None
    width: int | None = None
    height: int | None = None
    model: str | None = None
    model_id: str | None = None
    config_hash: str | None = None
    quality: float | None = None
    lmbda: float | None = None
    iters: int | None = None
    seconds: float | None = None
    device: str | None = None
    plain: Score | None = None
    refined: Score | None = None
    gain_percent: float | None = None
    verified: bool = False
    error: str | None = None
    refine_seconds: float | None = None
    input_stamp: str | None = None
    method: str | None = None
    cwd: str | None = None
    aim_hash: str | None = None
    iters_asked: int | None = None
    policy: dict[str, str | int | bool] | None = None

    @property
    def input_path(self) -> Path:
        """Where the image was, as `place` has it."""
        return place(Path(self.cwd or "", self.input))

    @property
    def output_path(self) -> Path:
        """Where its file went, as `place` has it."""
        return place(Path(self.cwd or "", self.output))

    def to_json(self) -> str:
        """One line of JSON; numbers are finite or null."""
        return json.dumps(asdict(self), allow_nan=False)


def place(path: Path) -> Path:
    """The path that all spellings of a file's name share: absolute, without links to folders; the file may be one."""
    return path.parent.resolve() / path.name


def score(original: Pixels, decoded: Pixels, size_bytes: int, lmbda: float, distortion: float | None = None) -> Score:
    """Measure a decoded picture against its original; `distortion` is what its cost counts, None the mse."""
    bpp = 8 * size_bytes / (original.width * original.height)
    cost = bpp + lmbda * (mse(original, decoded) if distortion is None else distortion)
    return Score(size_bytes, bpp, psnr_db(original, decoded), ms_ssim(original, decoded), cost)


def append_record(path: Path, record: Record) -> None:
    """Add one line, flushed to the disk."""
    append_line(path, record.to_json())


def append_line(path: Path, text: str) -> None:
    """Add a line, flushed to the disk; one that a killed run left without its end is ended first."""
    with open(path, "a+b") as file:
        if file.tell() and file.seek(-1, os.SEEK_END) is not None and file.read(1) != b"\n":
            file.write(b"\n")
        file.write(text.encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> list[Record]:
    """The records of a results file; a line that a killed run left incomplete is passed over."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found = json.loads(line)
            known = {f.name: found.get(f.name) for f in fields(Record)}
            for key in ("plain", "refined"):
                known[key] = Score(**known[key]) if known[key] else None
            records.append(Record(**known))
        except (ValueError, TypeError, AttributeError):
            continue
    return records
