"""Pictures for the page: a few of them, as they were decoded, with maps of their bits and errors.

A page must stay small, so pictures are a selection spread from the greatest gain to the least, cut to their middle
where they are large, and stored as JPEG 4:4:4 of high quality. Every figure beside them was measured before that.
"""

import base64
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codec.coding import AnyCodec, coding_arithmetic, write
from codec.files import write_atomically
from codec.images.formats import write_as, write_png
from codec.images.pixels import Pixels, crop, from_tensor
from codec.images.read import ImagePolicy
from codec.interface import Latents, bit_map
from jobs.comparing.details import Split, bits_of, plain_latents, read_original, read_refined, split_of
from jobs.record import Record, Score, psnr_db

SIDE_MAX = 1024  # px shown; a multiple of a block
BLOCK = 16  # px of one latent
JPEG_QUALITY = 92
_LOG_BITS_PER_QUALITY = 0.24  # of the range 1..8; only where a search begins
_SEARCH_STEPS, _CLOSE = 3, 0.003  # estimates at most, and a ratio of bits near enough
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
    split: Split


def choose(records: list[Record], count: int) -> list[Record]:
    """At most `count` records of the ladder's middle quality, spread evenly from the greatest gain to the least."""
    qualities = sorted({r.quality for r in records if r.outcome and r.quality is not None})
    if not qualities or count < 1:
        return []
    middle = qualities[(len(qualities) - 1) // 2]
    ranked = sorted((r for r in records if r.quality == middle and r.outcome), key=lambda r: -r.measured.gain_percent)
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[place] for place in dict.fromkeys(places.tolist())]


def view(record: Record, codec: AnyCodec, policy: ImagePolicy) -> View:
    """All layers of one record.

    Raises:
        RdoError: the picture or the file is not there, or not what the record says.
    """
    assert record.outcome and record.quality is not None
    original, refined = read_original(record, policy), read_refined(record, codec)
    plain = plain_latents(codec, original, record.quality)
    maps = {"plain": _bit_map(codec, plain, record.quality), "refined": _bit_map(codec, refined, record.quality)}
    target = float(maps["plain"].sum()) * record.outcome.refined.bytes / record.outcome.plain.bytes
    equal_quality = quality_of_bits(codec, original, target, (record.quality, float(maps["plain"].sum())))
    equal_latents = plain_latents(codec, original, equal_quality)
    equal = _synthesise(codec, equal_latents, equal_quality, original)
    size = original.width, original.height
    equal_bytes = len(write(codec, equal_latents, *size, equal_quality, original.grey))
    plain_pixels = _synthesise(codec, plain, record.quality, original)
    refined_pixels = _synthesise(codec, refined, record.quality, original)
    pixels = {"original": original, "plain": plain_pixels, "equal": equal, "refined": refined_pixels}
    rows, columns = _middle(original.height), _middle(original.width)
    cut = {name: Pixels(np.ascontiguousarray(p.data[rows, columns]), p.grey) for name, p in pixels.items()}
    score = Score(equal_bytes, 8 * equal_bytes / math.prod(size), psnr_db(original, equal), None, 0.0)
    files = [
        Layer("original", "original", _jpeg(cut["original"])),
        _file_layer("plain", "plain", cut["plain"], record.outcome.plain),
        _file_layer("equal", "plain, equal bytes", cut["equal"], score),
        _file_layer("refined", "refined", cut["refined"], record.outcome.refined),
    ]
    bit_layers, scales = _bit_layers({name: m[rows, columns] for name, m in maps.items()})
    error_layers, scales["error"] = _error_layers(cut)
    section = cut["original"]
    return View(
        image=record.input,
        quality=record.quality,
        gain_percent=record.outcome.gain_percent,
        width=section.width,
        height=section.height,
        whole=(section.width, section.height) == (original.width, original.height),
        equal_quality=equal_quality,
        layers=(*files, *bit_layers, *error_layers),
        scales=scales,
        split=split_of(
            record,
            _split_bits(codec, plain, record.quality, maps["plain"]),
            _split_bits(codec, refined, record.quality, maps["refined"]),
        ),
    )


def quality_of_bits(codec: AnyCodec, original: Pixels, bits: float, known: tuple[float, float]) -> float:
    """The quality at which plain encoding needs these bits, by the model's estimate, within 1..8.

    The logarithm of bits is near linear in quality, so a secant from the `known` (quality, bits) finds it soon.
    """
    (before, last), slope = known, _LOG_BITS_PER_QUALITY
    for _ in range(_SEARCH_STEPS):
        quality = min(max(before + math.log(bits / last) / slope, 1.0), 8.0)
        if abs(math.log(bits / last)) < _CLOSE or quality == before:
            break
        found = sum(bits_of(codec, plain_latents(codec, original, quality), quality))
        slope = max(math.log(found / last) / (quality - before), 0.05)
        before, last = quality, found
    return min(max(before + math.log(bits / last) / slope, 1.0), 8.0)


def heat(values: Plane, top: float, stops: NDArray[np.float64] = _HEAT) -> Pixels:
    """Values 0..top (H, W) as colours between `stops`."""
    place = np.clip(values / top, 0, 1) * (len(stops) - 1)
    colours = np.stack([np.interp(place, np.arange(len(stops)), stops[:, c]) for c in range(3)], axis=-1)
    return Pixels(colours.round().astype(np.uint8), grey=False)


def _split_bits(codec: AnyCodec, latents: Latents, quality: float, padded: Plane) -> tuple[float, float]:
    """Bits of y and z, from a map of both together."""
    with coding_arithmetic():
        z_bits = float(codec.z_bits(latents.z, codec.level(quality)).sum())
    return float(padded.sum()) - z_bits, z_bits


def _bit_map(codec: AnyCodec, latents: Latents, quality: float) -> Plane:
    """Bits of every pixel (H, W) of the padded picture; a block's are spread evenly."""
    with coding_arithmetic():
        blocks = bit_map(codec, latents, codec.level(quality))[0].double().cpu().numpy()
    return blocks.repeat(BLOCK, 0).repeat(BLOCK, 1) / BLOCK**2


def _synthesise(codec: AnyCodec, latents: Latents, quality: float, original: Pixels) -> Pixels:
    with coding_arithmetic():
        x_hat = codec.synthesise(latents, codec.level(quality))
    return from_tensor(crop(x_hat, original.height, original.width).cpu(), original.grey)


def _file_layer(name: str, title: str, pixels: Pixels, found: Score) -> Layer:
    return Layer(name, title, _jpeg(pixels), found.bytes, found.bpp, found.psnr_db)


def _bit_layers(maps: dict[str, Plane]) -> tuple[list[Layer], dict[str, str]]:
    """Bits per pixel before, after and the change, the first two on one scale."""
    before, after = maps["plain"], maps["refined"]
    top = max(float(np.percentile(before, 99)), 1e-3)
    reach = max(float(np.percentile(np.abs(after - before), 98)), 1e-3)
    layers = [
        Layer("bits_plain", "bits, plain", _png(heat(before, top))),
        Layer("bits_refined", "bits, refined", _png(heat(after, top))),
        Layer("bits_change", "bits, change", _png(heat(after - before + reach, 2 * reach, _CHANGE))),
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


def store(path: Path, found: View) -> None:
    """Keep a view for the next report, as it takes seconds to make."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(found), allow_nan=False).encode())


def stored(path: Path) -> View | None:
    """A kept view; null where there is none, or not of this form."""
    try:
        found = json.loads(path.read_bytes())
        layers = tuple(Layer(**layer) for layer in found["layers"])
        return View(**{**found, "layers": layers, "split": Split(**found["split"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _jpeg(pixels: Pixels, quality: int = JPEG_QUALITY) -> str:
    return _uri("jpeg", write_as(pixels, "JPEG", {"quality": quality, "subsampling": 0, "optimize": True}))


def _png(pixels: Pixels) -> str:
    return _uri("png", write_png(pixels))


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
