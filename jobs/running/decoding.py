"""Decoding of one .rdo file to a picture's file."""

import sys
from collections.abc import Callable
from pathlib import Path

from codec import places
from codec.allocator import release_memory
from codec.coding import decode
from codec.errors import ConfigError
from codec.files import copy_times
from codec.images.metadata import kept
from codec.images.outputs import save_picture, write_picture
from codec.interface import AnyCodec
from codec.metadata_boxes import metadata_of
from jobs import cli
from jobs.running.decode_settings import DecodeOptions


def decode_one(
    source: str, target: str, codec_of: Callable[[bytes], AnyCodec], options: DecodeOptions
) -> tuple[str, ...]:
    """Decode one .rdo file to a picture, and return what was lost; `-` is standard input or output.

    Raises:
        RdoError, OSError: the file cannot be decoded, or the picture not written.
        ConfigError: another picture has the name `target`, and may not be replaced.
    """
    data = sys.stdin.buffer.read() if source == "-" else places.read(source)
    decoded = decode(
        codec_of(data), data, crop=options.crop, salvage=options.salvage, pixels_max=options.pixels_max,
        keep_latents=False,
    )  # fmt: skip
    release_memory()  # that decoding took, before the picture's is
    pixels = decoded.pixels
    metadata = kept(metadata_of(decoded.boxes), options.metadata, width=pixels.width, height=pixels.height)
    if target == "-":
        cli.print_bytes(write_picture(pixels, metadata, options.outputs))
        return decoded.damage
    if options.overwrite or not places.exists(target):
        with places.written(target) as file:
            save_picture(file, pixels, metadata, options.outputs)
    elif not places.holds(target, write_picture(pixels, metadata, options.outputs)):  # equal bytes are an earlier run's
        raise ConfigError(f"{target} exists: name another with -o, or pass --overwrite to replace it")
    if options.preserve_times and source != "-":
        copy_times(Path(source), Path(target))
    if options.open:
        cli.open_file(Path(target))
    return decoded.damage
