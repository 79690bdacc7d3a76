"""Records of encodings, one line of `results.jsonl` each; their JSON keys are a contract that others parse."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from codec.images.pixels import Pixels
from codec.metrics.butteraugli import butteraugli
from codec.metrics.ms_ssim import ms_ssim
from codec.metrics.psnr import mse, psnr_db
from codec.metrics.ssimulacra2 import ssimulacra2
from codec.urls import is_url
from jobs import jsonl

SCHEMA = "rdo-record-1"
Status = Literal["done", "failed", "skipped"]
KEYS = (
    "schema", "status", "input", "output", "input_sha256", "output_sha256", "width", "height", "model", "model_id",
    "config_hash", "quality", "lmbda", "iters", "seconds", "device", "plain", "refined", "gain_percent", "verified",
    "error", "refine_seconds", "input_stamp", "method", "cwd", "aim_hash", "iters_asked", "policy",
    "tune", "gain_profile", "metadata_bytes", "notes", "resumed_step", "output_stamp", "exact_blocks",
)  # fmt: skip  # of a record in JSON, in this order
OPTIONAL = ("exact_blocks",)  # keys that are left out where they say nothing


@dataclass(frozen=True)
class Score:
    """Measurements of one file: its bytes, and its decoded 8-bit pixels against the original.

    Attributes:
        bpp: bits per pixel of the original.
        psnr_db: None for identical images.
        ms_ssim: as published; None where a side is below 161 pixels.
        ssimulacra2: at most 100; None where a side is below 8 pixels, and in records of earlier releases.
        cost: bpp + lmbda * distortion, by the distortion that was optimised: mse on 0..255, the MS-SSIM of
            `codec.metrics.distortion`, or a mixture.
        butteraugli: 3-norm of Butteraugli's distances, 0 for identical images, about 1 where flaws begin to show; None
            where a side is below 8 pixels, and where it was not asked for.
    """

    bytes: int
    bpp: float
    psnr_db: float | None
    ms_ssim: float | None
    ssimulacra2: float | None
    cost: float
    butteraugli: float | None = None


@dataclass(frozen=True)
class Outcome:
    """Measurements of one finished encoding, plain and refined.

    Scores and gain are those of the coded picture; the file is `metadata_bytes` larger than `refined.bytes`.

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
        gain_profile: quantisation steps of the written file, 0 are the model's own (`codec.gain_profiles`).
        metadata_bytes: what the written file holds besides its picture: EXIF, XMP, ICC profile.
        resumed_step: step that the refinement went on at after an interruption; None where it ran in one go.
        exact_blocks: blocks of 64 px that the written file holds losslessly; in JSON only where there are any.
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
    gain_profile: int = 0
    metadata_bytes: int = 0
    resumed_step: int | None = None
    exact_blocks: int = 0


@dataclass(frozen=True)
class Record:
    """Header of one image's encoding, and its outcome once a file was written and verified; a failure has `error`.

    Attributes:
        input_sha256: hash of the image file.
        quality, lmbda: those of the file; those asked for where there is none.
        seconds: wall time of the image, reading to writing.
        input_stamp: size and times of the image file, as `jobs.running.history.file_stamp` gives them; size and
            checksum of one in a bucket.
        cwd: folder that `input` and `output` are relative to, unless absolute.
        config_hash: hash of all settings but the image policy.
        aim_hash: hash of all settings but the image policy and the effort.
        iters_asked: steps in the settings; a search for a target may take more.
        policy: those decisions of the image policy that this image could not be read without.
        tune: what the file is to be good at (`rdo.tune`); None is what the model was trained for.
        notes: what of the image file was damaged and passed over, or left out; None for nothing.
        output_stamp: size and checksum of a file in a bucket when it was written; None for files on a disk.
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
    policy: dict[str, str | float | bool] | None = None
    tune: str | None = None
    notes: list[str] | None = None
    output_stamp: str | None = None
    outcome: Outcome | None = None

    @property
    def measured(self) -> Outcome:
        """Outcome of a record that is known to have one."""
        assert self.outcome is not None, f"{self.input}: {self.status}"
        return self.outcome

    @property
    def input_path(self) -> Path:
        """Absolute path of the image, by `canonical_path`."""
        return canonical_path(Path(self.cwd or "", self.input))

    @property
    def output_path(self) -> Path:
        """Absolute path of the written file, by `canonical_path`."""
        return canonical_path(Path(self.cwd or "", self.output))

    @property
    def input_place(self) -> str:
        """Name of the image wherever the run was started, by `canonical_place`."""
        return canonical_place(self.input, self.cwd or "")

    @property
    def output_place(self) -> str:
        """Name of the written file wherever the run was started, by `canonical_place`."""
        return canonical_place(self.output, self.cwd or "")

    def to_json(self) -> str:
        """Return one line of JSON with the keys `KEYS`: header and outcome side by side, numbers finite or null."""
        header = asdict(self)
        outcome = header.pop("outcome") or {"verified": False}
        values = {**header, **outcome}
        keys = (key for key in KEYS if key not in OPTIONAL or values.get(key))
        return json.dumps({key: values.get(key) for key in keys}, allow_nan=False)


def canonical_path(path: Path) -> Path:
    """Return an absolute path with links to folders resolved; a link to the file itself is kept."""
    return path.parent.resolve() / path.name


def canonical_place(name: str, cwd: str = "") -> str:
    """Return a URL as it is, and a path, relative to `cwd`, as `canonical_path` does."""
    return name if is_url(name) else str(canonical_path(Path(cwd, name)))


def score(
    original: Pixels,
    decoded: Pixels,
    size_bytes: int,
    *,
    lmbda: float,
    distortion: float | None = None,
    with_butteraugli: bool = False,
) -> Score:
    """Return the measurements of a file of `size_bytes`.

    Args:
        lmbda: weight of the distortion in the cost.
        distortion: of the decoded picture; None counts the mse.
        with_butteraugli: whether to take that as well, which costs more time than plain encoding.
    """
    bpp = 8 * size_bytes / (original.width * original.height)
    cost = bpp + lmbda * (mse(original, decoded) if distortion is None else distortion)
    return Score(
        bytes=size_bytes,
        bpp=bpp,
        psnr_db=psnr_db(original, decoded),
        ms_ssim=ms_ssim(original, decoded),
        ssimulacra2=ssimulacra2(original, decoded),
        cost=cost,
        butteraugli=butteraugli(original, decoded) if with_butteraugli else None,
    )


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
    values |= {name: found.get(name) or 0 for name in ("gain_profile", "metadata_bytes", "exact_blocks")}
    values |= {name: Score(**{"ssimulacra2": None, **found[name]}) for name in ("plain", "refined")}
    return Record(**header, outcome=Outcome(**values))
