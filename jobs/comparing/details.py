"""Where a file's bits went: y, z and overhead, plain and refined, the model's estimate against the file's bytes."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from codec import coding
from codec.coding import AnyCodec, coding_arithmetic, read
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.images.read import ImagePolicy, read_image
from codec.interface import Latents, rate
from jobs import jsonl
from jobs.record import Record


@dataclass(frozen=True)
class Split:
    """Bytes of one picture's two files; `_est` are the model's estimates, what is left of the file is overhead."""

    input: str
    output_sha256: str
    quality: float
    plain_bytes: int
    plain_y_bytes_est: float
    plain_z_bytes_est: float
    refined_bytes: int
    refined_y_bytes_est: float
    refined_z_bytes_est: float


def measure_split(record: Record, codec: AnyCodec, policy: ImagePolicy) -> Split:
    """Price both files of a record once more: the plain latents from the picture, the refined ones from their file.

    Raises:
        RdoError, OSError: the picture or the file is not what the record says.
    """
    assert record.quality is not None
    pixels, refined = read_original(record, policy), read_refined(record, codec)
    plain = plain_latents(codec, pixels, record.quality)
    return split_of(record, bits_of(codec, plain, record.quality), bits_of(codec, refined, record.quality))


def split_of(record: Record, plain_bits: tuple[float, float], refined_bits: tuple[float, float]) -> Split:
    """A split from the estimates (y, z) of both files, in bits."""
    assert record.quality is not None
    return Split(
        input=record.input,
        output_sha256=record.measured.output_sha256,
        quality=record.quality,
        plain_bytes=record.measured.plain.bytes,
        plain_y_bytes_est=plain_bits[0] / 8,
        plain_z_bytes_est=plain_bits[1] / 8,
        refined_bytes=record.measured.refined.bytes,
        refined_y_bytes_est=refined_bits[0] / 8,
        refined_z_bytes_est=refined_bits[1] / 8,
    )


def bits_of(codec: AnyCodec, latents: Latents, quality: float) -> tuple[float, float]:
    """The model's estimate for y and for z, in bits."""
    with coding_arithmetic():
        y_bits, z_bits = rate(codec, latents, codec.level(quality))
    return float(y_bits), float(z_bits)


def read_original(record: Record, policy: ImagePolicy) -> Pixels:
    """The picture that a record is of.

    Raises:
        ConfigError: it is not there, or no longer the same.
        ImageError: it cannot be read under this policy.
    """
    return read_image(_checked(record.input_path, record.input_sha256), policy)


def read_refined(record: Record, codec: AnyCodec) -> Latents:
    """The latents in a record's file.

    Raises:
        ConfigError: it is not there, or no longer the same.
        BitstreamError: another model wrote it.
    """
    return read(codec, _checked(record.output_path, record.measured.output_sha256))[1]


def plain_latents(codec: AnyCodec, pixels: Pixels, quality: float) -> Latents:
    """What plain encoding writes."""
    level = codec.level(quality)
    with coding_arithmetic():
        return coding.plain_latents(codec, to_tensor(pixels).to(level.device), level)


def append_split(path: Path, split: Split) -> None:
    """Add one line, flushed to the disk."""
    jsonl.append(path, json.dumps(asdict(split), allow_nan=False))


def read_splits(path: Path) -> dict[str, Split]:
    """Earlier ones by their file's hash; a line that is none is passed over."""
    splits = jsonl.read(path, lambda found: Split(**{f.name: found[f.name] for f in fields(Split)}))
    return {split.output_sha256: split for split in splits}


def _checked(path: Path, digest: str | None) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{path}: not found from here: run in the folder that the records were made in")
    data = path.read_bytes()
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise ConfigError(f"{path}: has changed since its record was written")
    return data
