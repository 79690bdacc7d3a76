"""Pictures for the page: a few of them, as they were decoded, with maps of their bits and errors.

A page must stay small, so pictures are a selection spread from the greatest gain to the least, cut to their middle
where they are large, and stored as JPEG 4:4:4 of high quality. Every figure beside them was measured before that.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from codec.coding import coding_arithmetic, encode, quality_tensor
from codec.image import ImagePolicy, Pixels, crop, from_tensor, write_as, write_png
from codec.model import Codec, Latents
from jobs.details import plain_latents, read_original, read_refined
from jobs.record import Record, Score, psnr_db

SIDE_MAX = 1024  # px shown; a multiple of a block
BLOCK = 16  # px of one latent
JPEG_QUALITY = 92
_BITS_PER_QUALITY = 0.24  # d ln(bits) / d quality of the range 1..8; only where a search begins
_SEARCH_STEPS = 3
_HEAT = np.array([(8, 10, 30), (62, 20, 110), (160, 40, 110), (232, 90, 60), (250, 180, 70), (252, 250, 200)], float)
_CHANGE = np.array([(18, 90, 170), (110, 170, 220), (245, 245, 245), (240, 150, 110), (180, 40, 40)], float)
Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """One thing to look at: `uri` is a picture inside the page. Maps have no bytes and no PSNR."""

    name: str
    title: str
    uri: str
    bytes: int | None = None
    bpp: float | None = None
    psnr_db: float | None = None


@dataclass(frozen=True)
class View:
    """A picture's layers, all of the same `width` x `height` px section; `scales` says what the maps' colours mean."""

    image: str
    quality: float
    gain_percent: float
    width: int
    height: int
    whole: bool
    equal_quality: float
    layers: tuple[Layer, ...]
    scales: dict[str, str]


def choose(records: list[Record], count: int) -> list[Record]:
    """At most `count` records of the ladder's middle quality, spread evenly from the greatest gain to the least."""
    qualities = sorted({r.quality for r in records if r.plain and r.refined and r.quality is not None})
    if not qualities or count < 1:
        return []
    middle = qualities[(len(qualities) - 1) // 2]
    ranked = sorted((r for r in records if r.quality == middle and r.plain), key=lambda r: -(r.gain_percent or 0.0))
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[place] for place in dict.fromkeys(places.tolist())]


def view(record: Record, codec: Codec, policy: ImagePolicy) -> View:
    """All layers of one record.

    Raises:
        RdoError: the picture or the file is not there, or not what the record says.
    """
    assert record.plain and record.refined and record.quality is not None
    original, refined = read_original(record, policy), read_refined(record, codec)
    plain = plain_latents(codec, original, record.quality)
    equal_quality = quality_of_equal_bytes(record, codec, original)
    equal_bytes = len(encode(codec, original, equal_quality))
    equal = _synthesise(codec, plain_latents(codec, original, equal_quality), equal_quality, original)
    pixels = {
        "original": original,
        "plain": _synthesise(codec, plain, record.quality, original),
        "equal": equal,
        "refined": _synthesise(codec, refined, record.quality, original),
    }
    rows, columns = _middle(original.height), _middle(original.width)
    cut = {name: _cut(p, rows, columns) for name, p in pixels.items()}
    equal_bpp = 8 * equal_bytes / (original.width * original.height)
    layers = [
        Layer("original", "original", _jpeg(cut["original"])),
        _file_layer("plain", "plain", cut["plain"], record.plain),
        Layer("equal", "plain, equal bytes", _jpeg(cut["equal"]), equal_bytes, equal_bpp, psnr_db(original, equal)),
        _file_layer("refined", "refined", cut["refined"], record.refined),
    ]
    maps, scales = _bit_layers(codec, plain, refined, record.quality, rows, columns)
    errors, scales["error"] = _error_layers(cut)
    section = cut["original"]
    return View(
        image=record.input,
        quality=record.quality,
        gain_percent=record.gain_percent or 0.0,
        width=section.width,
        height=section.height,
        whole=(section.width, section.height) == (original.width, original.height),
        equal_quality=equal_quality,
        layers=(*layers, *maps, *errors),
        scales=scales,
    )


def quality_of_equal_bytes(record: Record, codec: Codec, original: Pixels) -> float:
    """The quality at which plain encoding needs the refined file's bytes, by the model's estimate, within 1..8.

    The logarithm of bits is near linear in quality, so a secant finds it in few steps.
    """
    assert record.plain and record.refined and record.quality is not None
    bits = _estimator(codec, original)
    target = math.log(record.refined.bytes / record.plain.bytes)
    begin = bits(record.quality)  # estimates stand to each other as the files do
    quality, slope = record.quality, _BITS_PER_QUALITY
    before, found = quality, 0.0
    for _ in range(_SEARCH_STEPS):
        before, quality = quality, min(max(quality + (target - found) / slope, 1.0), 8.0)
        if quality == before:
            break
        last, found = found, math.log(bits(quality) / begin)
        slope = max((found - last) / (quality - before), 0.05)
    return quality


def heat(values: Plane, top: float, stops: NDArray[np.float64] = _HEAT) -> Pixels:
    """Values 0..top (H, W) as colours between `stops`."""
    place = np.clip(values / top, 0, 1) * (len(stops) - 1)
    colours = np.stack([np.interp(place, np.arange(len(stops)), stops[:, c]) for c in range(3)], axis=-1)
    return Pixels(colours.round().astype(np.uint8), grey=False)


def _estimator(codec: Codec, original: Pixels) -> Callable[[float], float]:
    def bits(quality: float) -> float:
        latents = plain_latents(codec, original, quality)
        with coding_arithmetic():
            y_bits, z_bits = codec.rate(latents.y, latents.y, latents.z, latents.z, quality_tensor(codec, quality))
        return float(y_bits + z_bits)

    return bits


def _synthesise(codec: Codec, latents: Latents, quality: float, original: Pixels) -> Pixels:
    with coding_arithmetic():
        x_hat = codec.synthesise(latents.y, quality_tensor(codec, quality))
    return from_tensor(crop(x_hat, original.height, original.width).cpu(), original.grey)


def _file_layer(name: str, title: str, pixels: Pixels, found: Score) -> Layer:
    return Layer(name, title, _jpeg(pixels), found.bytes, found.bpp, found.psnr_db)


def _bit_layers(
    codec: Codec, plain: Latents, refined: Latents, quality: float, rows: slice, columns: slice
) -> tuple[list[Layer], dict[str, str]]:
    """Bits per pixel of every block, before, after and the change, the first two on one scale."""
    with coding_arithmetic():
        level = quality_tensor(codec, quality)
        maps = torch.cat([codec.bit_map(latents, level) for latents in (plain, refined)]).double().cpu().numpy()
    before, after = (m.repeat(BLOCK, 0).repeat(BLOCK, 1)[rows, columns] / BLOCK**2 for m in maps)
    top = max(float(np.percentile(before, 99)), 1e-3)
    reach = max(float(np.percentile(np.abs(after - before), 98)), 1e-3)
    change = heat(after - before + reach, 2 * reach, _CHANGE)
    layers = [
        Layer("bits_plain", "bits, plain", _png(heat(before, top))),
        Layer("bits_refined", "bits, refined", _png(heat(after, top))),
        Layer("bits_change", "bits, change", _png(change)),
    ]
    return layers, {"bits": f"0 to {top:.2f} bpp", "change": f"-{reach:.2f} (blue, saved) to +{reach:.2f} bpp (red)"}


def _error_layers(cut: dict[str, Pixels]) -> tuple[list[Layer], str]:
    """Mean absolute error of the channels, both on one scale."""
    original = cut["original"].data.astype(float)
    errors = {name: np.abs(cut[name].data - original).mean(2) for name in ("plain", "refined")}
    top = max(float(np.percentile(errors["plain"], 99.5)), 1.0)
    layers = [Layer(f"error_{name}", f"error, {name}", _jpeg(heat(e, top), 80)) for name, e in errors.items()]
    return layers, f"0 to {top:.0f} of 255 levels"


def _middle(side: int) -> slice:
    """The part of a side that is shown; begins on a block."""
    start = max(0, (side - SIDE_MAX) // 2 // BLOCK * BLOCK)
    return slice(start, min(side, start + SIDE_MAX))


def _cut(pixels: Pixels, rows: slice, columns: slice) -> Pixels:
    return Pixels(np.ascontiguousarray(pixels.data[rows, columns]), pixels.grey)


def _jpeg(pixels: Pixels, quality: int = JPEG_QUALITY) -> str:
    return _uri("jpeg", write_as(pixels, "JPEG", {"quality": quality, "subsampling": 0, "optimize": True}))


def _png(pixels: Pixels) -> str:
    return _uri("png", write_png(pixels))


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
