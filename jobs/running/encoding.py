"""Encoding of images from file to verified file: the task of every worker.

read -> plain encoding and refinement -> both written and decoded from their bytes -> the cheaper file kept -> record.
Images of one shape are refined together. The invariant: a failure of one image is the `error` of its own record alone.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from codec import places, storage
from codec.allocator import release_memory
from codec.architecture import MS_SSIM_SIDE_MIN
from codec.errors import ImageError
from codec.identity import model_id
from codec.images import exif
from codec.images.metadata import NOTHING, Keeping, Metadata
from codec.images.pixels import Pixels
from codec.images.read import STRICT, ImagePolicy, Picture, read_picture
from codec.interface import AnyCodec
from codec.loading import load
from codec.metadata_boxes import add_metadata, metadata_bytes_max
from codec.metrics.distortion import is_too_small
from codec.urls import is_url
from jobs.cli import print_bytes
from jobs.record import SCHEMA, Record
from jobs.running.encode_pixels import LARGE_PX, encode_pixels
from jobs.running.encode_settings import EncodeConfig, encode_hash, without_effort
from jobs.running.failures import explain
from jobs.running.history import file_stamp
from jobs.running.resume_file import resume_file
from jobs.running.worklist import NOT_WRITTEN, STDIO, Item
from jobs.runtime import THREADS, check_device, keep_memory

NO_POSITION = "the position is left out: --metadata keep keeps it"
TOO_SMALL = f"too small for MS-SSIM, which needs sides of {MS_SSIM_SIDE_MIN} pixels: encoded for the mse"


def set_up(model: str, device: str, threads: int = THREADS) -> AnyCodec:
    """Configure this process for encoding and load its model.

    Args:
        model: name for `codec.load`.
        threads: number of torch threads.

    Raises:
        RdoError: no such model or device.
    """
    keep_memory()
    usable = check_device(device)
    torch.set_num_threads(threads)
    return load(model, usable)


def encode(items: list[Item], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]) -> list[Record]:
    """Encode, refine, verify and write images, those of one shape together. A failed image leaves no file.

    Args:
        progress: called with the number of each finished refinement step.

    Returns:
        Records in the order of `items`; their `seconds` are equal shares of the time of all.
    """
    start = time.monotonic()
    drafts = [_read(item, codec, config) for item in items]
    groups: dict[object, list[_Draft]] = {}
    for index, draft in enumerate(drafts):
        if draft.pixels:  # a target needs a lambda of each image's own
            key = index if config.targeted else (draft.pixels.width, draft.pixels.height)
            groups.setdefault(key, []).append(draft)
    for group in groups.values():
        _complete(group, codec, config, progress)
    share = (time.monotonic() - start) / max(1, len(items))
    return [replace(draft.record, seconds=share) for draft in drafts]


@dataclass
class _Draft:
    """Image being encoded, its record so far, and what the file is to keep of its metadata.

    `pixels` is None where it could not be read.
    """

    item: Item
    record: Record
    pixels: Pixels | None = None
    metadata: Metadata = NOTHING

    def fail(self, error: Exception) -> None:
        """Set the error of the record."""
        self.record = replace(self.record, error=explain(error, self.item.input))


def _read(item: Item, codec: AnyCodec, config: EncodeConfig) -> _Draft:
    """Read an image file and fill in what its record says of file and settings."""
    draft = _Draft(item, _header(item, codec, config))
    try:
        config_hash, aim_hash = (encode_hash(codec, settings) for settings in (config, without_effort(config)))
        draft.record = replace(
            draft.record, config_hash=config_hash, aim_hash=aim_hash, iters_asked=config.refine.iters
        )
        stamp = _stamp(item)  # before reading: a change meanwhile shows
        source = _read_source(item)
        draft.record = replace(draft.record, input_sha256=hashlib.sha256(source).hexdigest(), input_stamp=stamp)
        picture, needed = _picture(source, config.policy)
        draft.metadata, notes = picture.kept(config.metadata), _notes(picture, config.metadata)
        draft.pixels = picture.pixels if config.middle is None else _middle(picture.pixels, config.middle)
        is_usual = config.tune is None and config.ms_ssim is None
        if is_usual and is_too_small(min(draft.pixels.width, draft.pixels.height), codec.distortion):
            notes.append(TOO_SMALL)
        draft.record = replace(draft.record, policy=needed, notes=notes or None)
        if picture.pixels.width * picture.pixels.height > LARGE_PX:
            release_memory()  # that reading took, before the networks take their own
    except Exception as error:  # of any kind: the run continues with the other images
        draft.fail(error)
    return draft


def _picture(source: bytes, policy: ImagePolicy) -> tuple[Picture, dict[str, str | float | bool] | None]:
    """Return an image and those decisions of the policy that it could not be read without, None if no decision.

    A gamut that was kept is one of them, since the pixels are others, and a limit on the size that had to be raised.
    """
    usual = replace(STRICT, gamut=policy.gamut, max_megapixels=policy.max_megapixels)
    needed: dict[str, str | float | bool] = {}
    try:
        picture = read_picture(source, usual)  # most images
    except ImageError:
        picture = read_picture(source, policy)
        for name, value in asdict(policy).items():
            if value == getattr(usual, name):
                continue
            try:
                read_picture(source, replace(policy, **{name: getattr(usual, name)}))
            except ImageError:
                needed[name] = value
    if picture.metadata.profile:
        needed["gamut"] = policy.gamut
    if picture.pixels.width * picture.pixels.height > 1e6 * STRICT.max_megapixels:
        needed["max_megapixels"] = policy.max_megapixels
    return picture, needed or None


def _middle(pixels: Pixels, side: int) -> Pixels:
    """Return the square of a side in the middle of a picture; of a smaller one, as much as there is."""
    top, left = (max(0, (length - side) // 2) for length in (pixels.height, pixels.width))
    return Pixels(np.ascontiguousarray(pixels.data[top : top + side, left : left + side]), pixels.grey)


def _notes(picture: Picture, keeping: Keeping) -> list[str]:
    """Return what of an image file is damaged or left out, the position too where it is left out unasked."""
    has_position = exif.has_location(picture.metadata.exif) or b"GPSLatitude" in picture.metadata.xmp
    is_silent = keeping != "default" or not has_position
    return [*picture.notes, *([] if is_silent else [NO_POSITION])]


def _complete(group: list[_Draft], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]) -> None:
    """Encode and write images of one shape; where they fail together, each is tried alone."""
    try:
        pictures = [draft.pixels for draft in group if draft.pixels]
        reserved = max(metadata_bytes_max(draft.metadata) for draft in group)  # of one image, where there is a target
        resumes = [resume_file(d.item.output, d.record.config_hash, d.record.input_sha256) for d in group]
        store = resumes[0] if len(group) == 1 else None
        results = encode_pixels(pictures, codec, config, progress=progress, reserved_bytes=reserved, store=store)
        for draft, encoded, resume in zip(group, results, resumes, strict=True):
            data = add_metadata(encoded.data, draft.metadata)
            outcome = replace(
                encoded.outcome,
                output_sha256=hashlib.sha256(data).hexdigest(),
                metadata_bytes=len(data) - len(encoded.data),
            )
            stamp = _write(draft.item.output, data)
            if resume:
                resume.remove()
            draft.record = replace(
                draft.record,
                status="done",
                quality=encoded.quality,
                lmbda=encoded.lmbda,
                output_stamp=stamp,
                outcome=outcome,
            )
    except Exception as error:
        if len(group) == 1:
            group[0].fail(error)
            return
    for draft in group:
        if draft.record.status != "done":
            _complete([draft], codec, config, progress)


def _header(item: Item, codec: AnyCodec, config: EncodeConfig) -> Record:
    """Return the record of an image before anything is known of its file."""
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
        tune=config.tune,
    )


def _stamp(item: Item) -> str | None:
    if not is_url(item.source):
        return file_stamp(Path(item.input))
    found = storage.find(item.source)
    return found and found.stamp


def _read_source(item: Item) -> bytes:
    return sys.stdin.buffer.read() if item.input == STDIO else places.read(item.source)


def _write(output: str, data: bytes) -> str | None:
    """Write a file, to standard output if its name is `-`, or nowhere if it is NOT_WRITTEN; return a URL's stamp."""
    if output == STDIO:
        print_bytes(data)
    elif output != NOT_WRITTEN:
        return places.write(output, data)
    return None
