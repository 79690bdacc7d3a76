"""One picture from pixels to a verified file: the unit of work, the same in this process or elsewhere.

plain encoding -> refinement -> both written and decoded from their bytes -> the cheaper file kept -> record. A wrong
or impossible picture is that record's `error`; only errors that would fail every picture are raised.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from codec.bitstream import VERSION
from codec.checkpoint import first_line, load, model_id
from codec.coding import AnyCodec, decode, same_symbols, write
from codec.errors import BitstreamError, ConfigError, RdoError
from codec.files import write_atomically
from codec.image import ImagePolicy, read_image
from codec.interface import Latents
from codec.pixels import Pixels, to_tensor
from codec.settings import config_hash
from jobs.cli import THREADS, check_device, keep_memory
from jobs.record import SCHEMA, Record, score
from jobs.running.history import stamp
from jobs.worklist import NOWHERE, STDIO, Item
from rdo.config import RefineConfig
from rdo.distortion import Distortion, weight_of_mask
from rdo.refine import refine
from rdo.target import Goal, refine_to

OUT_OF_MEMORY = "out of memory"
STRIP_MIN = 1 << 16  # pixels; narrower strips would save nothing beside their halo


@dataclass(frozen=True)
class EncodeConfig:
    """All that decides the bytes of a file, besides its picture and the model's weights.

    `lmbda` None takes the one that fits the quality. A target, in the unit that its name says, replaces both.
    """

    model: str = "small"
    quality: float = 4.0
    lmbda: float | None = None
    target_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    ms_ssim: float = 0.0
    roi: Path | None = None
    roi_weight: float = 8.0
    refine: RefineConfig = RefineConfig()
    policy: ImagePolicy = ImagePolicy()

    def __post_init__(self) -> None:
        if self.lmbda is not None and not 0 < self.lmbda < float("inf"):
            raise ConfigError(f"lmbda {self.lmbda}: must be positive; the range of quality 1..8 is 0.002..0.058")
        targets = [t for t in (self.target_bytes, self.target_bpp, self.target_psnr) if t is not None]
        if len(targets) > 1 or (targets and self.lmbda is not None):
            raise ConfigError("give one of target_bytes, target_bpp, target_psnr and lmbda: each settles the others")
        if any(not 0 < target < float("inf") for target in targets):
            raise ConfigError(f"target {targets[0]}: must be positive")
        if not 0 <= self.ms_ssim <= 1:
            raise ConfigError(f"ms_ssim {self.ms_ssim}: a share of the distortion, between 0 (mse alone) and 1")
        if not 0 < self.roi_weight < float("inf"):
            raise ConfigError(f"roi_weight {self.roi_weight}: must be positive")

    def goal(self, pixels: int) -> Goal | None:
        """What a file of so many pixels shall measure, if a target was given."""
        if self.target_psnr is not None:
            return Goal("psnr", self.target_psnr)
        if self.target_bpp is not None:
            return Goal("bytes", self.target_bpp * pixels / 8)
        return None if self.target_bytes is None else Goal("bytes", self.target_bytes)


@dataclass(frozen=True)
class Verified:
    """A file's bytes, and the pixels that decoding them gave."""

    data: bytes
    pixels: Pixels


def set_up(model: str, device: str, threads: int = THREADS) -> AnyCodec:
    """Make this process one that encodes, and load its model.

    Raises:
        RdoError: no such model or device.
    """
    keep_memory()
    usable = check_device(device)
    torch.set_num_threads(threads)
    return load(model, usable)


def encode_one(item: Item, codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]) -> Record:
    """Encode, refine, verify and write one picture. A failure is recorded, and leaves no file.

    Args:
        progress: called with each finished refinement step.
    """
    begin = time.monotonic()
    record = _blank(item, codec, config)
    try:
        before = stamp(Path(item.input))
        source = _read_source(item)
        record = replace(record, input_sha256=hashlib.sha256(source).hexdigest(), input_stamp=before)
        pixels = read_image(source, config.policy)
        encoded, data = _encode_in_memory(pixels, codec, config, record, progress)
        _write(item.output, data)
    except Exception as error:  # whatever it is, it is this picture's verdict, and the run goes on
        return replace(record, error=explain(error, item.input), seconds=time.monotonic() - begin)
    digest = hashlib.sha256(data).hexdigest()
    return replace(encoded, status="done", output_sha256=digest, seconds=time.monotonic() - begin)


def explain(error: Exception, subject: str = "") -> str:
    """What happened and what to do, in one line, to be printed after `subject`, the name of the file at hand."""
    if isinstance(error, RdoError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename and error.filename != subject else ""
        mend = "check the path" if isinstance(error, FileNotFoundError) else "check the disk and the permissions"
        return f"{where}{error.strerror}: {mend}"
    if exhausted(error):
        return f"{OUT_OF_MEMORY}: downscale the picture or use a machine with more"
    return f"{type(error).__name__}: {first_line(error)}: please report this picture and settings"


def exhausted(error: Exception) -> bool:
    """Whether memory ran out; on the CPU torch says so with a RuntimeError of its allocator."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "alloc" in str(error)


def encode_hash(codec: AnyCodec, config: EncodeConfig) -> str:
    """Hash of settings, weights, mask and format: equal hashes and pictures give equal files on one machine.

    Of one number of threads, that is.
    """
    mask = Path(hashlib.sha256(config.roi.read_bytes()).hexdigest()) if config.roi else None
    return config_hash(replace(config, model=f"{model_id(codec).hex()}-{VERSION}", roi=mask))


def distortion_of(config: EncodeConfig, device: torch.device) -> Distortion:
    """What the settings ask to be optimised.

    Raises:
        ImageError: the mask is no readable picture.
    """
    weight = None
    if config.roi:
        mask = read_image(config.roi, ImagePolicy("drop", 8), str(config.roi))
        weight = weight_of_mask(to_tensor(mask).mean(1, keepdim=True).to(device), config.roi_weight)
    return Distortion(config.ms_ssim, weight)


def _encode_in_memory(
    pixels: Pixels, codec: AnyCodec, config: EncodeConfig, record: Record, progress: Callable[[int], None]
) -> tuple[Record, bytes]:
    """`_encode`, begun again in ever narrower strips when memory runs out."""
    try:
        return _encode(pixels, codec, config, record, progress)
    except Exception as error:
        strip = min(config.refine.strip_pixels, pixels.width * pixels.height) // 4
        if not exhausted(error) or not config.refine.iters or strip < STRIP_MIN:
            raise
    narrower = replace(config, refine=replace(config.refine, memory_gib=None, strip_pixels=strip))
    return _encode_in_memory(pixels, codec, narrower, record, progress)


def _encode(
    pixels: Pixels, codec: AnyCodec, config: EncodeConfig, record: Record, progress: Callable[[int], None]
) -> tuple[Record, bytes]:
    """Scores and the better file's bytes."""
    x = to_tensor(pixels).to(codec.device)
    measure = distortion_of(config, x.device)
    if goal := config.goal(pixels.width * pixels.height):
        refined, quality, lmbda = refine_to(codec, x, goal, config.refine, pixels.grey, progress, measure)
    else:
        quality, lmbda = config.quality, config.lmbda if config.lmbda is not None else codec.lmbda_of(config.quality)
        refined = refine(codec, x, quality, config.refine, lmbda, progress, measure)
    plain_file = write_verified(codec, refined.plain, pixels, quality)
    best_file = write_verified(codec, refined.latents, pixels, quality) if refined.iters else plain_file
    plain, best = (
        score(pixels, file.pixels, len(file.data), lmbda, float(measure(to_tensor(file.pixels).to(x.device), x)))
        for file in (plain_file, best_file)
    )
    if best.cost > plain.cost and not goal:  # rounding to 8 bits or the last word of the file can tip a tie
        best_file, best = plain_file, plain
    record = replace(
        record,
        width=pixels.width,
        height=pixels.height,
        quality=quality,
        lmbda=lmbda,
        iters=refined.iters,
        refine_seconds=refined.seconds,
        plain=plain,
        refined=best,
        gain_percent=100 * (1 - best.cost / plain.cost),
        verified=True,
    )
    return record, best_file.data


def write_verified(codec: AnyCodec, latents: Latents, pixels: Pixels, quality: float) -> Verified:
    """Write a file and decode it from its bytes.

    Raises:
        BitstreamError: it does not give back the very latents.
    """
    data = write(codec, latents, pixels.width, pixels.height, quality, pixels.grey)
    decoded = decode(codec, data)
    if not same_symbols(decoded.latents, latents):
        raise BitstreamError("the written file decodes to other symbols: please report this picture and settings")
    return Verified(data, decoded.pixels)


def _blank(item: Item, codec: AnyCodec, config: EncodeConfig) -> Record:
    return Record(
        schema=SCHEMA,
        status="failed",
        input=item.input,
        output=item.output,
        model=codec.config.name,
        model_id=model_id(codec).hex(),
        config_hash=encode_hash(codec, config),
        quality=config.quality,
        lmbda=config.lmbda if config.lmbda is not None else codec.lmbda_of(config.quality),
        device=str(codec.device),
    )


def _read_source(item: Item) -> bytes:
    return sys.stdin.buffer.read() if item.input == STDIO else Path(item.input).read_bytes()


def _write(output: str, data: bytes) -> None:
    if output == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif output != NOWHERE:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
