"""Records: what is known of one image's encoding, a line of `results.jsonl` and a contract that others parse."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from codec.architecture import MS_SSIM_SIDE_MIN
from codec.images.pixels import Pixels
from jobs import jsonl

SCHEMA = "rdo-record-1"
Status = Literal["done", "failed", "skipped"]
KEYS = (
    "schema", "status", "input", "output", "input_sha256", "output_sha256", "width", "height", "model", "model_id",
    "config_hash", "quality", "lmbda", "iters", "seconds", "device", "plain", "refined", "gain_percent", "verified",
    "error", "refine_seconds", "input_stamp", "method", "cwd", "aim_hash", "iters_asked", "policy",
)  # fmt: skip  # of a record in JSON, in this order


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
class Outcome:
    """Measurements of one finished encoding, plain and refined.

    Attributes:
        output_sha256: hash of the written file.
        width, height: size of the image, in pixels.
        plain: score of the plain encoding.
        refined: score of the written file, which is the plain one where refinement gained nothing.
        gain_percent: fall of the cost from `plain` to `refined`; positive is better.
        verified: whether the written bytes were decoded and gave the intended latents.
        iters: refinement steps taken; 0 is plain encoding.
        method: search or relaxation that took them; None for plain encoding.
        refine_seconds: wall time of refinement, a part of `Record.seconds`.
    """

    output_sha256: str
    width: int
    height: int
    plain: Score
    refined: Score
    gain_percent: float
    verified: bool
    iters: int
    method: str | None = None
    refine_seconds: float | None = None


@dataclass(frozen=True)
class Record:
    """Header of one image's encoding, and its outcome once a file was written and verified; a failure has `error`.

    Attributes:
        input_sha256: hash of the image file.
        quality, lmbda: those of the file; those asked for where there is none.
        seconds: wall time of the image, reading to writing.
        input_stamp: size and times of the image file, as `jobs.running.history.stamp` gives them.
        cwd: folder that `input` and `output` are relative to, unless absolute.
        config_hash: hash of all settings but the image policy.
        aim_hash: hash of all settings but the image policy and the effort.
        iters_asked: steps in the settings; a search for a target may take more.
        policy: those decisions of the image policy that this image could not be read without.
    """

    schema: str
    status: Status
    input: str
    output: str
    input_sha256: str | None = None
    model: str | None = None
    model_id: str | None = None
    config_hash: str | None = None
    quality: float | None = None
    lmbda: float | None = None
    seconds: float | None = None
    device: str | None = None
    error: str | None = None
    input_stamp: str | None = None
    cwd: str | None = None
    aim_hash: str | None = None
    iters_asked: int | None = None
    policy: dict[str, str | int | bool] | None = None
    outcome: Outcome | None = None

    @property
    def measured(self) -> Outcome:
        """Outcome of a record that is known to have one."""
        assert self.outcome is not None, f"{self.input}: {self.status}"
        return self.outcome

    @property
    def input_path(self) -> Path:
        """Absolute path of the image, as `place` gives it."""
        return place(Path(self.cwd or "", self.input))

    @property
    def output_path(self) -> Path:
        """Absolute path of the written file, as `place` gives it."""
        return place(Path(self.cwd or "", self.output))

    def to_json(self) -> str:
        """Return one line of JSON with the keys `KEYS`: header and outcome side by side, numbers finite or null."""
        header = asdict(self)
        outcome = header.pop("outcome") or {"verified": False}
        values = {**header, **outcome}
        return json.dumps({key: values.get(key) for key in KEYS}, allow_nan=False)


def place(path: Path) -> Path:
    """The path that all spellings of a file's name share: absolute, without links to folders; the file may be one."""
    return path.parent.resolve() / path.name


def score(original: Pixels, decoded: Pixels, size_bytes: int, lmbda: float, distortion: float | None = None) -> Score:
    """Measure a decoded picture against its original; `distortion` is what its cost counts, None the mse."""
    bpp = 8 * size_bytes / (original.width * original.height)
    cost = bpp + lmbda * (mse(original, decoded) if distortion is None else distortion)
    return Score(size_bytes, bpp, psnr_db(original, decoded), _ms_ssim(original, decoded), cost)


def mse(original: Pixels, decoded: Pixels) -> float:
    """Mean squared error over all samples, 0..255 scale."""
    difference = original.data.astype(np.int16) - decoded.data
    return float(np.mean(np.square(difference, dtype=np.int32)))


def psnr_db(original: Pixels, decoded: Pixels) -> float | None:
    """10 log10(255^2 / mse); null for identical pictures."""
    error = mse(original, decoded)
    return 10 * math.log10(255**2 / error) if error else None


def _ms_ssim(original: Pixels, decoded: Pixels) -> float | None:
    if min(original.width, original.height) < MS_SSIM_SIDE_MIN:
        return None
    from pytorch_msssim import ms_ssim

    from codec.images.pixels import to_tensor

    # a channel at a time, whose mean it is: a third of the memory
    channels = zip(to_tensor(original).split(1, 1), to_tensor(decoded).split(1, 1), strict=True)
    return statistics.fmean(float(ms_ssim(a, b, data_range=1.0)) for a, b in channels)


def append_record(path: Path, record: Record) -> None:
    """Append a record to a results file, flushed to the disk."""
    jsonl.append(path, record.to_json())


def read_records(path: Path) -> list[Record]:
    """Return the records of a results file; lines that are none, or torn, are passed over."""
    return jsonl.read(path, from_mapping)


def from_mapping(found: Mapping[str, Any]) -> Record:
    """Return the record of one parsed line; unknown keys are those of a later version, and passed over.

    Raises:
        ValueError, TypeError, AttributeError, KeyError: `found` is no record.
    """
    header: dict[str, Any] = {f.name: found.get(f.name) for f in fields(Record) if f.name != "outcome"}
    header |= {name: found[name] for name in ("schema", "status", "input", "output")}
    if found.get("plain") is None:
        return Record(**header)
    values: dict[str, Any] = {f.name: found.get(f.name) for f in fields(Outcome)}
    values |= {name: Score(**found[name]) for name in ("plain", "refined")}
    return Record(**header, outcome=Outcome(**values))
