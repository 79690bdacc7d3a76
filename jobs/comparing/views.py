"""Views of a page: original, plain and refined pictures as they were decoded, with maps of their bits and errors.

A page must stay small, so a view is cut to its picture's centre where that is large, and stored as JPEG 4:4:4 of high
quality. Every figure beside it is measured on the whole picture before that.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, Y_PIXELS
from codec.arithmetic import coding_arithmetic
from codec.coding import write
from codec.files import write_atomically
from codec.images.pixels import Pixels, crop, from_tensor
from codec.images.read import ImagePolicy
from codec.interface import AnyCodec, Latents
from jobs.comparing.bit_split import (
    Bits,
    BitSplit,
    estimate_bits,
    make_split,
    plain_latents,
    read_original,
    read_refined,
)
from jobs.comparing.colour_maps import (
    DIVERGING,
    MAP_JPEG_QUALITY,
    Plane,
    absolute_error,
    bits_per_pixel,
    colour_map,
    jpeg_uri,
    png_uri,
)
from jobs.record import Record, Score, score

SIDE_MAX = 1024  # px shown; a multiple of Y_PIXELS
_LOG_BITS_PER_QUALITY = 0.24  # slope over the range 1..8, where the search begins
_SEARCH_STEPS, _LOG_RATIO_CLOSE = 3, 0.003  # at most, and a tolerance in nats of the ratio of bits


@dataclass(frozen=True)
class Layer:
    """Picture or map inside a page, as a data URI; maps have neither bytes nor scores."""

    name: str
    title: str
    uri: str
    bytes: int | None = None
    bpp: float | None = None
    psnr_db: float | None = None
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    butteraugli: float | None = None


@dataclass(frozen=True)
class View:
    """Layers of one picture, all of the same `width` x `height` px section.

    `whole` says that the section is all of the picture; `equal_quality` is the quality at which plain encoding takes
    as many bytes as the refined file; `scales` gives the range of each map's colours.
    """

    image: str
    quality: float
    gain_percent: float
    width: int
    height: int
    whole: bool
    equal_quality: float
    layers: tuple[Layer, ...]
    scales: dict[str, str]
    split: BitSplit


def choose_records(records: list[Record], count: int) -> list[Record]:
    """Choose at most `count` records of the median quality, spread evenly from the greatest gain to the least."""
    qualities = sorted({r.quality for r in records if r.outcome and r.quality is not None})
    if not qualities or count < 1:
        return []
    middle = qualities[(len(qualities) - 1) // 2]
    ranked = sorted((r for r in records if r.quality == middle and r.outcome), key=lambda r: -r.measured.gain_percent)
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[place] for place in dict.fromkeys(places.tolist())]


def make_view(record: Record, codec: AnyCodec, policy: ImagePolicy) -> View:
    """Decode a record's plain and refined files, encode plainly at equal bytes, and map bits and errors.

    Raises:
        RdoError: the picture or the file is missing, unreadable or changed.
    """
    assert record.outcome and record.quality is not None
    quality, outcome = record.quality, record.outcome
    original, (writer, refined) = read_original(record, policy), read_refined(record, codec)
    plain = plain_latents(codec, original, quality)
    bits = {"plain": bits_per_pixel(codec, plain, quality), "refined": bits_per_pixel(writer, refined, quality)}
    plain_bits = float(bits["plain"].sum())
    equal_quality = quality_at_bits(
        codec, original, plain_bits * outcome.refined.bytes / outcome.plain.bytes, known=(quality, plain_bits)
    )
    equal, equal_score = _encode_plainly(
        codec, original, equal_quality, for_eyes=outcome.refined.butteraugli is not None
    )
    rows, columns = _shown(original.height), _shown(original.width)
    shown = {
        name: Pixels(np.ascontiguousarray(pixels.data[rows, columns]), pixels.grey)
        for name, pixels in (
            ("original", original),
            ("plain", _decode(codec, plain, quality, original)),
            ("equal", equal),
            ("refined", _decode(writer, refined, quality, original)),
        )
    }
    files = (
        Layer("original", "original", jpeg_uri(shown["original"])),
        _file_layer("plain", "plain", shown["plain"], outcome.plain),
        _file_layer("equal", "plain, equal bytes", shown["equal"], equal_score),
        _file_layer("refined", "refined", shown["refined"], outcome.refined),
    )
    maps, scales = _map_layers({name: plane[rows, columns] for name, plane in bits.items()}, shown)
    section = shown["original"]
    return View(
        image=record.input,
        quality=quality,
        gain_percent=outcome.gain_percent,
        width=section.width,
        height=section.height,
        whole=(section.width, section.height) == (original.width, original.height),
        equal_quality=equal_quality,
        layers=(*files, *maps),
        scales=scales,
        split=make_split(
            record,
            plain=_split_bits(codec, plain, quality, bits["plain"]),
            refined=_split_bits(writer, refined, quality, bits["refined"]),
        ),
    )


def quality_at_bits(codec: AnyCodec, original: Pixels, bits: float, known: tuple[float, float]) -> float:
    """Find the quality, within 1..8, at which plain encoding takes `bits` by the model's estimate.

    Secant method from the `known` (quality, bits): the logarithm of bits is nearly linear in quality.
    """
    (quality_before, bits_before), slope = known, _LOG_BITS_PER_QUALITY
    for _ in range(_SEARCH_STEPS):
        quality = _clamp(quality_before + math.log(bits / bits_before) / slope)
        if abs(math.log(bits / bits_before)) < _LOG_RATIO_CLOSE or quality == quality_before:
            break
        found = sum(estimate_bits(codec, plain_latents(codec, original, quality), quality))
        slope = max(math.log(found / bits_before) / (quality - quality_before), 0.05)
        quality_before, bits_before = quality, found
    return _clamp(quality_before + math.log(bits / bits_before) / slope)


def write_view(path: Path, view: View) -> None:
    """Write a view as JSON, whole or not at all, for the next report: it takes seconds to make."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(view), allow_nan=False).encode())


def read_view(path: Path) -> View | None:
    """Read a view, or return None where there is no file of this form."""
    try:
        found = json.loads(path.read_bytes())
        layers = tuple(Layer(**layer) for layer in found["layers"])
        return View(**{**found, "layers": layers, "split": BitSplit(**found["split"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _encode_plainly(codec: AnyCodec, original: Pixels, quality: float, *, for_eyes: bool) -> tuple[Pixels, Score]:
    """Encode without refinement; return the decoded picture and its score, whose cost is the rate alone."""
    latents = plain_latents(codec, original, quality)
    decoded = _decode(codec, latents, quality, original)
    size_bytes = len(
        write(codec, latents, width=original.width, height=original.height, quality=quality, grey=original.grey)
    )
    return decoded, score(original, decoded, size_bytes, lmbda=0.0, with_butteraugli=for_eyes)


def _decode(codec: AnyCodec, latents: Latents, quality: float, original: Pixels) -> Pixels:
    with coding_arithmetic():
        x_hat = codec.synthesise(latents, codec.level(quality))
    return from_tensor(crop(x_hat, original.height, original.width).cpu(), original.grey)


def _split_bits(codec: AnyCodec, latents: Latents, quality: float, padded: Plane) -> Bits:
    """Split the sum of a map of bits of y and z together."""
    with coding_arithmetic():
        z_bits = float(codec.z_bits(latents.z, codec.level(quality)).sum())
    return Bits(float(padded.sum()) - z_bits, z_bits)


def _file_layer(name: str, title: str, pixels: Pixels, found: Score) -> Layer:
    return Layer(
        name=name,
        title=title,
        uri=jpeg_uri(pixels),
        bytes=found.bytes,
        bpp=found.bpp,
        psnr_db=found.psnr_db,
        ms_ssim=found.ms_ssim,
        ssimulacra2=found.ssimulacra2,
        butteraugli=found.butteraugli,
    )


def _map_layers(bits: dict[str, Plane], shown: dict[str, Pixels]) -> tuple[list[Layer], dict[str, str]]:
    """Map bits before and after on one scale, their change, and errors before and after on one scale."""
    before, after = bits["plain"], bits["refined"]
    bits_top = max(float(np.percentile(before, 99)), 1e-3)
    change_top = max(float(np.percentile(np.abs(after - before), 98)), 1e-3)
    change = colour_map(after - before + change_top, 2 * change_top, DIVERGING)
    errors = {name: absolute_error(shown[name], shown["original"]) for name in ("plain", "refined")}
    error_top = max(float(np.percentile(errors["plain"], 99.5)), 1.0)
    layers = [
        Layer("bits_plain", "bits, plain", png_uri(colour_map(before, bits_top))),
        Layer("bits_refined", "bits, refined", png_uri(colour_map(after, bits_top))),
        Layer("bits_change", "bits, change", png_uri(change)),
    ]
    layers += [
        Layer(f"error_{name}", f"error, {name}", jpeg_uri(colour_map(error, error_top), MAP_JPEG_QUALITY))
        for name, error in errors.items()
    ]
    return layers, {
        "bits": f"0 to {bits_top:.2f} bpp",
        "change": f"-{change_top:.2f} (blue, saved) to +{change_top:.2f} bpp (red)",
        "error": f"0 to {error_top:.0f} of 255 levels",
    }


def _shown(side: int) -> slice:
    """Return the centre of a side, at most SIDE_MAX px and beginning on the grid of y."""
    start = max(0, (side - SIDE_MAX) // 2 // Y_PIXELS * Y_PIXELS)
    return slice(start, min(side, start + SIDE_MAX))


def _clamp(quality: float) -> float:
    return min(max(quality, QUALITY_FIRST), QUALITY_LAST)
