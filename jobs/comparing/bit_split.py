"""Split of a file's bytes into y, z and overhead, for the plain and the refined file of a record.

Bytes of y and z are the model's estimates; the rest of the measured file is overhead.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from codec import coding
from codec.arithmetic import coding_arithmetic
from codec.coding import read
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.images.read import ImagePolicy, read_image
from codec.interface import AnyCodec, Latents, rate
from jobs import jsonl
from jobs.record import Record


class Bits(NamedTuple):
    """Estimated bits of y and of z."""

    y: float
    z: float


@dataclass(frozen=True)
class BitSplit:
    """Bytes of one picture's plain and refined file, and the model's estimates (`_est`) of y and z in them."""

    input: str
    output_sha256: str
    quality: float
    plain_bytes: int
    plain_y_bytes_est: float
    plain_z_bytes_est: float
    refined_bytes: int
    refined_y_bytes_est: float
    refined_z_bytes_est: float


def measure_split(record: Record, codec: AnyCodec, policy: ImagePolicy) -> BitSplit:
    """Estimate the bits of a record's plain latents, from its picture, and of its refined ones, from its file.

    Raises:
        RdoError, OSError: the picture or the file is missing, unreadable or changed.
    """
    assert record.quality is not None
    pixels, (writer, refined) = read_original(record, policy), read_refined(record, codec)
    plain = plain_latents(codec, pixels, record.quality)
    return make_split(
        record,
        plain=estimate_bits(codec, plain, record.quality),
        refined=estimate_bits(writer, refined, record.quality),
    )


def make_split(record: Record, *, plain: Bits, refined: Bits) -> BitSplit:
    """Combine a record's measured bytes with the estimates for both of its files."""
    assert record.quality is not None
    return BitSplit(
        input=record.input,
        output_sha256=record.measured.output_sha256,
        quality=record.quality,
        plain_bytes=record.measured.plain.bytes,
        plain_y_bytes_est=plain.y / 8,
        plain_z_bytes_est=plain.z / 8,
        refined_bytes=record.measured.refined.bytes,
        refined_y_bytes_est=refined.y / 8,
        refined_z_bytes_est=refined.z / 8,
    )


def estimate_bits(codec: AnyCodec, latents: Latents, quality: float) -> Bits:
    """Estimate the bits of y and of z with the model's probabilities, in the arithmetic that files are coded in."""
    with coding_arithmetic():
        y_bits, z_bits = rate(codec, latents, codec.level(quality))
    return Bits(float(y_bits), float(z_bits))


def read_original(record: Record, policy: ImagePolicy) -> Pixels:
    """Read the picture of a record.

    Raises:
        ConfigError: the picture is missing, or has changed since.
        ImageError: the picture cannot be read under this policy.
    """
    gamut = str((record.policy or {}).get("gamut", "srgb"))  # of the pixels that the file holds
    return read_image(_unchanged(record.input_path, record.input_sha256), replace(policy, gamut=gamut))


def read_refined(record: Record, codec: AnyCodec) -> tuple[AnyCodec, Latents]:
    """Read the refined latents from a record's file; return them with the codec of the file's gain profile.

    Raises:
        ConfigError: the file is missing, or has changed since.
        BitstreamError: another model wrote the file.
    """
    header, latents = read(codec, _unchanged(record.output_path, record.measured.output_sha256))
    return codec.with_gain_profile(header.gain_profile), latents


def plain_latents(codec: AnyCodec, pixels: Pixels, quality: float) -> Latents:
    """Compute the latents that plain encoding writes."""
    level = codec.level(quality)
    with coding_arithmetic():
        return coding.plain_latents(codec, to_tensor(pixels).to(level.device), level)


def append_split(path: Path, split: BitSplit) -> None:
    """Append a split to a file of JSON lines, flushed to the disk."""
    jsonl.append(path, json.dumps(asdict(split), allow_nan=False))


def read_splits(path: Path) -> dict[str, BitSplit]:
    """Read the splits of earlier runs, by the hash of their refined file; lines that hold none are passed over."""
    splits = jsonl.read(path, lambda found: BitSplit(**{f.name: found[f.name] for f in fields(BitSplit)}))
    return {split.output_sha256: split for split in splits}


def _unchanged(path: Path, digest: str | None) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{path}: not found from here: run in the folder that the records were made in")
    data = path.read_bytes()
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise ConfigError(f"{path}: has changed since its record was written")
    return data
