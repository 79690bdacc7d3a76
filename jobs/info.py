"""`rdo-info`: header of .rdo files, and the split of their bytes into y, z and overhead."""

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from codec.architecture import LINEAR_PROFILE
from jobs import cli
from jobs.runtime import check_device

if TYPE_CHECKING:
    from codec.images.metadata import Metadata
    from codec.interface import AnyCodec

EXAMPLES = """\
  rdo-info a.rdo
  rdo-info --json rdo-out/"""


class TileInfo(NamedTuple):
    """Tile of a picture: the rectangle in pixels, and the bytes of its stream."""

    left: int
    top: int
    width: int
    height: int
    bytes: int


@dataclass(frozen=True)
class Described:
    """Metadata of a file in words; empty where it has no such part.

    `exif_bytes` and `xmp_bytes` are those unpacked, `profile` is the colour space that an ICC profile describes.
    """

    camera: str
    taken: str
    artist: str
    copyright: str
    has_position: bool
    exif_bytes: int
    xmp_bytes: int
    profile: str


@dataclass(frozen=True)
class Info:
    """Header of a file and the split of its bytes, which is None where the file's model is not installed.

    `y_bytes_est` and `z_bytes_est` are the model's estimates for the decoded symbols; `overhead_bytes` is the rest of
    the file but its metadata: header, rounding of entropy parameters, escapes, the coder's last words, the exact
    section, other boxes. `tile` is the side of a tile, 0 where the picture is one; `boxes` maps types to bytes of data;
    `metadata` says what those of metadata hold.
    """

    file: str
    bytes: int
    width: int
    height: int
    bpp: float
    quality: float
    gain_profile: int
    grey: bool
    model_id: str
    model: str | None
    header_bytes: int
    y_bytes_est: float | None
    z_bytes_est: float | None
    overhead_bytes: float | None
    tile: int
    tiles: list[TileInfo]
    exact_bytes: int
    exact_blocks: int
    boxes: dict[str, int]
    metadata_bytes: int = 0
    metadata: Described | None = None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `rdo-info`."""
    flags = cli.parser("rdo-info", "Show the header of .rdo files, and what their bytes are spent on.", EXAMPLES)
    flags.add_argument("inputs", nargs="+", metavar="FILE", help=".rdo files, folders or URLs; - is standard input")
    flags.add_argument("--json", action="store_true", help="print a JSON object a line")
    cli.add_model_flags(flags, reads=True)
    cli.add_url_note(flags)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = build_parser().parse_args(argv)
    return cli.guarded(lambda: show(arguments.inputs, arguments.model, device=arguments.device, as_json=arguments.json))


def show(inputs: list[str], model: str | None, *, device: str, as_json: bool) -> int:
    """Print the header and the bit split of every file; return 1 if any could not be read.

    Args:
        inputs: .rdo files or folders, or `-` for standard input.
        model: name of the model of all files; None is the installed model whose id is in the file.
        device: device that symbols are decoded on.
        as_json: whether to print JSON lines instead of text.

    Raises:
        RdoError: no files, no such model or device.
    """
    from codec.places import read
    from codec.urls import public
    from jobs.running.buckets import checked_input
    from jobs.running.failures import explain
    from jobs.running.rdo_files import codec_loader, find_rdo_files

    codec_of = codec_loader(model, check_device(device))
    failed = 0
    for name, _ in find_rdo_files([checked_input(name) for name in inputs]):
        try:
            data = sys.stdin.buffer.read() if name == "-" else read(name)
            info = inspect(public(name), data, codec_of(data))
        except Exception as error:
            failed += 1
            cli.say(f"{name}: {explain(error, name)}")
            continue
        print(json.dumps(asdict(info)) if as_json else as_text(info))
    return cli.SOME_FAILED if failed else cli.DONE


def inspect(name: str, data: bytes, codec: "AnyCodec") -> Info:
    """Read a file's header and, if `codec` is its model, its symbols, and estimate their bits.

    Raises:
        BitstreamError: the bytes are no intact .rdo file.
    """
    from codec.architecture import PIXELS_MAX
    from codec.bitstream.container import unpack
    from codec.bitstream.exact import exact_blocks
    from codec.bitstream.tiles import tiles_of
    from codec.coding import read
    from codec.identity import model_id
    from codec.latents import tile_latents
    from codec.metadata_boxes import metadata_bytes, metadata_of
    from jobs.comparing.bit_split import estimate_bits

    contents = unpack(data)
    header = contents.header
    known = header.model_id == model_id(codec) and header.width * header.height <= PIXELS_MAX
    boxes: dict[str, int] = {}
    for box in contents.boxes:
        boxes[box.type.decode("ascii")] = boxes.get(box.type.decode("ascii"), 0) + len(box.data)
    rects = tiles_of(header.width, header.height, header.tile)
    exact = exact_blocks(contents)
    y_bytes = z_bytes = None
    if exact and exact.whole:
        y_bytes = z_bytes = 0.0
    elif known:
        _, latents = read(codec, data)
        writer = codec.with_gain_profile(header.gain_profile)
        parts = tile_latents(latents, header.width, header.height, header.tile)
        estimates = [estimate_bits(writer, part, header.quality) for part in parts]
        y_bytes, z_bytes = (sum(bits) / 8 for bits in zip(*estimates, strict=True))
    metadata, size = metadata_of(contents.boxes), metadata_bytes(data)
    return Info(
        file=name,
        bytes=len(data),
        width=header.width,
        height=header.height,
        bpp=8 * len(data) / (header.width * header.height),
        quality=header.quality,
        gain_profile=header.gain_profile,
        grey=header.grey,
        model_id=header.model_id.hex(),
        model=codec.config.name if known else None,
        header_bytes=contents.header_bytes,
        y_bytes_est=y_bytes,
        z_bytes_est=z_bytes,
        overhead_bytes=None if y_bytes is None or z_bytes is None else len(data) - size - y_bytes - z_bytes,
        metadata_bytes=size,
        tile=header.tile,
        tiles=[
            TileInfo(rect.left, rect.top, *rect.size, 4 * len(stream.words) if stream else 0)
            for rect, stream in zip(rects, contents.streams, strict=True)
        ],
        exact_bytes=len(contents.exact or b""),
        exact_blocks=int(exact.mask.sum()) if exact else 0,
        boxes=boxes,
        metadata=describe(metadata) if metadata else None,
    )


def describe(metadata: "Metadata") -> Described:
    """Return a file's metadata in words."""
    from codec.images import exif
    from codec.images.colour import profile_name

    block = metadata.exif
    return Described(
        camera=" ".join(filter(None, (exif.text(block, exif.MAKE), exif.text(block, exif.MODEL)))),
        taken=exif.text(block, exif.TAKEN) or exif.text(block, exif.DATE),
        artist=exif.text(block, exif.ARTIST),
        copyright=exif.text(block, exif.COPYRIGHT),
        has_position=exif.has_location(block),
        exif_bytes=len(block),
        xmp_bytes=len(metadata.xmp),
        profile=profile_name(metadata.profile) if metadata.profile else "",
    )


def as_text(info: Info) -> str:
    """Format the information as a table of two columns."""
    from codec.images.mosaic import mask_shape

    model = f"{cli.printable(info.model or 'another model: name it with --model')} ({info.model_id})"
    lines = [
        cli.printable(info.file),
        f"  size      {info.width} x {info.height}{', grey' if info.grey else ''}",
        f"  bytes     {info.bytes} ({info.bpp:.4f} bpp)",
        f"  quality   {info.quality:g}{_profile(info.gain_profile)}",
        f"  model     {model}",
    ]
    if info.y_bytes_est is not None and info.z_bytes_est is not None and info.overhead_bytes is not None:
        parts = (("y", info.y_bytes_est), ("z", info.z_bytes_est), ("overhead", info.overhead_bytes - info.exact_bytes))
        lines += [f"  {label:9} {size:.0f} bytes ({100 * size / info.bytes:.1f} %)" for label, size in parts]
    if info.metadata:
        lines.append(f"  metadata  {info.metadata_bytes} bytes ({100 * info.metadata_bytes / info.bytes:.1f} %)")
        said = asdict(info.metadata)
        said |= {"position": "kept" if said.pop("has_position") else ""}
        sizes = {name: said.pop(f"{name}_bytes") for name in ("exif", "xmp")}
        said |= {name: f"{size} bytes" for name, size in sizes.items() if size}
        lines += [f"    {name:9} {cli.printable(text)}" for name, text in said.items() if text]
    if info.exact_bytes:
        share = f"{info.exact_blocks} of {math.prod(mask_shape(info.width, info.height))} blocks"
        size = f"{info.exact_bytes} bytes ({100 * info.exact_bytes / info.bytes:.1f} %)"
        lines.append(f"  exact     {size}, {share}")
    lines += [f"  box       {kind}, {size} bytes" for kind, size in info.boxes.items()]
    if info.tile:
        lines.append(f"  tiles     {len(info.tiles)}, of {info.tile} px")
        lines += [f"    {t.width}x{t.height}+{t.left}+{t.top}  {t.bytes} bytes" for t in info.tiles]
    return "\n".join(lines)


def _profile(gain_profile: int) -> str:
    """Return what a file's gain profile adds to the line of its quality."""
    if gain_profile == LINEAR_PROFILE:
        return ", linear path"
    return f", gain profile {gain_profile}" if gain_profile else ""
