"""Pictures from pixels to verified files: the unit of work, the same in this process or elsewhere.

plain encoding -> refinement -> both written and decoded from their bytes -> the cheaper file kept -> record. Pictures
of one shape may be refined together. A wrong or impossible picture is its record's `error`, and no other's.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codec.checkpoint import first_line, load, model_id
from codec.coding import AnyCodec, decode, same_symbols, write
from codec.errors import BitstreamError, ImageError, RdoError
from codec.files import write_atomically
from codec.images.pixels import Pixels, to_tensor
from codec.images.read import STRICT, ImagePolicy, read_image
from codec.interface import Latents
from codec.model import Codec
from jobs.cli import THREADS, check_device, keep_memory
from jobs.record import SCHEMA, Outcome, Record, score
from jobs.running.encode_settings import EncodeConfig, aim_of, distortion_asked, encode_hash
from jobs.running.history import stamp
from jobs.running.worklist import NOWHERE, STDIO, Item
from rdo.refinement import refine
from rdo.strips import strip_pixels
from rdo.target_search import refine_to

OUT_OF_MEMORY = "out of memory"
STRIP_MIN = 1 << 16  # pixels; narrower strips would save nothing beside their halo


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


def encode(items: list[Item], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]) -> list[Record]:
    """Encode, refine, verify and write pictures, those of one shape together. A failure writes no file.

    Args:
        progress: called with each finished refinement step.

    Returns:
        Records in the order of `items`; the seconds of pictures that went together are shared out evenly.
    """
    begin = time.monotonic()
    drafts = [_read(item, codec, config) for item in items]
    alike: dict[object, list[_Draft]] = {}
    for number, draft in enumerate(drafts):
        if draft.pixels:  # a target is met by one picture's lambda alone
            kind = number if config.targeted else (draft.pixels.width, draft.pixels.height)
            alike.setdefault(kind, []).append(draft)
    for group in alike.values():
        _complete(group, codec, config, progress)
    share = (time.monotonic() - begin) / max(1, len(items))
    return [replace(draft.record, seconds=share) for draft in drafts]


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


def exhausted(error: BaseException | None) -> bool:
    """Whether memory ran out; the CPU's allocator, CUDA and cuBLAS tell torch so with words of their own.

    Where the end of a recording (`rdo.cuda_graph`) fails for want of what ran out in it, that is the context.
    """
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("alloc", "out of memory")):
            return True
        error = error.__context__
    return False


@dataclass
class _Draft:
    """A picture on its way to a record; `pixels` None where there are none, as the record then says."""

    item: Item
    record: Record
    pixels: Pixels | None = None

    def fail(self, error: Exception) -> None:
        self.record = replace(self.record, error=explain(error, self.item.input))


def _read(item: Item, codec: AnyCodec, config: EncodeConfig) -> _Draft:
    draft = _Draft(item, _blank(item, codec, config))
    try:
        done, aim = (encode_hash(codec, settings) for settings in (config, aim_of(config)))
        draft.record = replace(draft.record, config_hash=done, aim_hash=aim, iters_asked=config.refine.iters)
        before = stamp(Path(item.input))
        source = _read_source(item)
        draft.record = replace(draft.record, input_sha256=hashlib.sha256(source).hexdigest(), input_stamp=before)
        draft.pixels, needed = _pixels(source, config.policy)
        draft.record = replace(draft.record, policy=needed)
    except Exception as error:  # whatever it is, it is this picture's verdict, and the run goes on
        draft.fail(error)
    return draft


def _pixels(source: bytes, policy: ImagePolicy) -> tuple[Pixels, dict[str, Any] | None]:
    """A picture, and those decisions of the policy that it could not be read without."""
    try:
        return read_image(source, STRICT), None  # as most can be
    except ImageError:
        pixels, needed = read_image(source, policy), dict[str, Any]()
    for name, value in asdict(policy).items():
        try:
            read_image(source, replace(policy, **{name: getattr(STRICT, name)}))
        except ImageError:
            needed[name] = value
    return pixels, needed


def _complete(group: list[_Draft], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]) -> None:
    """Encode pictures of one shape; what fails together is tried one by one."""
    try:
        pictures = [draft.pixels for draft in group if draft.pixels]
        results = _encode_in_memory(pictures, codec, config, progress)
        for draft, encoded in zip(group, results, strict=True):
            _write(draft.item.output, encoded.data)
            draft.record = replace(
                draft.record, status="done", quality=encoded.quality, lmbda=encoded.lmbda, outcome=encoded.outcome
            )
    except Exception as error:
        if len(group) == 1:
            group[0].fail(error)
            return
    for draft in group:
        if draft.record.status != "done":
            _complete([draft], codec, config, progress)


class _Encoded(NamedTuple):
    """Bytes of one file, the quality and lambda that they were made at, and their measurements."""

    data: bytes
    quality: float
    lmbda: float
    outcome: Outcome


def _encode_in_memory(
    pictures: list[Pixels], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]
) -> list[_Encoded]:
    """`_encode`; where memory runs out, half as many at a time, then in ever narrower strips."""
    half = len(pictures) // 2
    strip = int(min(strip_pixels(config.refine, codec.device), pictures[0].width * pictures[0].height)) // 4
    try:
        return _encode(pictures, codec, config, progress)
    except Exception as error:
        narrows = isinstance(codec, Codec) and config.refine.iters and strip >= STRIP_MIN
        if not exhausted(error) or not (half or narrows):
            raise
    if half:
        parts = (pictures[:half], pictures[half:])
        return [encoded for part in parts for encoded in _encode_in_memory(part, codec, config, progress)]
    narrower = replace(config, refine=replace(config.refine, memory_gib=None, strip_pixels=strip))
    return _encode_in_memory(pictures, codec, narrower, progress)


def _encode(
    pictures: list[Pixels], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]
) -> list[_Encoded]:
    """Each picture's better file and its scores."""
    x = torch.cat([_tensor(pixels, codec) for pixels in pictures])
    measure = distortion_asked(config, codec)
    first, search = pictures[0], config.refine
    if search.time_budget:  # for each
        search = replace(search, time_budget=search.time_budget * len(pictures))
    if goal := config.goal(first.width * first.height):
        refined, quality, lmbda = refine_to(codec, x, goal, search, first.grey, progress, measure)
    else:
        quality, lmbda = config.quality, config.lmbda if config.lmbda is not None else codec.lmbda_of(config.quality)
        refined = refine(codec, x, quality, search, lmbda, progress, measure)
    results = []
    for at, pixels in enumerate(pictures):
        this = slice(at, at + 1)
        plain_file = write_verified(codec, Latents(*(v[this] for v in refined.plain)), pixels, quality)
        best_file = plain_file
        if refined.iters:
            best_file = write_verified(codec, Latents(*(v[this] for v in refined.latents)), pixels, quality)
        plain, best = (
            score(pixels, file.pixels, len(file.data), lmbda, float(measure(_tensor(file.pixels, codec), x[this])))
            for file in (plain_file, best_file)
        )
        if best.cost > plain.cost and not goal:  # rounding to 8 bits or the last word of the file can tip a tie
            best_file, best = plain_file, plain
        outcome = Outcome(
            output_sha256=hashlib.sha256(best_file.data).hexdigest(),
            width=pixels.width,
            height=pixels.height,
            plain=plain,
            refined=best,
            gain_percent=100 * (1 - best.cost / plain.cost),
            verified=True,
            iters=refined.iters,
            method=refined.method if refined.iters else None,
            refine_seconds=refined.seconds / len(pictures),
        )
        results.append(_Encoded(best_file.data, quality, lmbda, outcome))
    return results


def _tensor(pixels: Pixels, codec: AnyCodec) -> Tensor:
    return to_tensor(pixels).to(codec.device)


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
