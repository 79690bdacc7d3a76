"""HTML page of one .rdo file beside its original: self-contained, its pixels exact, nothing loaded from a network."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from codec.images.metadata import Metadata
from codec.images.outputs import OutputSettings, write_picture
from codec.images.pixels import Pixels
from jobs.comparing.page import asset
from jobs.record import Score

_WEBP_SIDE_MAX = 16_383
_LEFT = """<img id="left-image" src="@URI@" alt="original">
        <div class="seam" aria-hidden="true"></div>
        <input type="range" id="slider" min="0" max="100" step="0.5" value="50" aria-label="Where the original ends">"""


@dataclass(frozen=True)
class Side:
    """Picture of one side: its pixels, the ICC profile of these (empty is sRGB), and the name and size of its file."""

    pixels: Pixels
    profile: bytes
    name: str
    bytes: int


def render(file: Side, original: Side | None, score: Score | None) -> str:
    """Return the page of a file; `score` is that against the original, both None where that was not found."""
    bpp = 8 * file.bytes / (file.pixels.width * file.pixels.height)
    size = f"{file.pixels.width} x {file.pixels.height} px, {file.bytes:,} bytes, {bpp:.3f} bpp"
    lead = f"{size}{_scores(score)}." if original else f"{size}. The original was not found: name it with --original."
    parts = {
        "TITLE": html.escape(Path(file.name).name),
        "STYLE": asset("style.css"),
        "LEAD": lead,
        "LEFT_CAPTION": _caption("original", original) if original else "",
        "RIGHT_CAPTION": _caption("file", file),
        "LEFT": _LEFT.replace("@URI@", _uri(original)) if original else "",
        "RIGHT": _uri(file),
    }
    page = asset("view.html")
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text)
    return page


def _scores(score: Score | None) -> str:
    if score is None:
        return ""
    known = (
        ("PSNR {:.2f} dB", score.psnr_db),
        ("MS-SSIM {:.4f}", score.ms_ssim),
        ("SSIMULACRA 2 {:.1f}", score.ssimulacra2),
        ("Butteraugli {:.2f}", score.butteraugli),
    )
    return "".join(f", {text.format(value)}" for text, value in known if value is not None)


def _caption(role: str, side: Side) -> str:
    return f"<b>{role}</b><span>{html.escape(side.name)}, {side.bytes:,} bytes</span>"


def _uri(side: Side) -> str:
    """Return a picture as a data URI, lossless: WebP, or PNG where a side is too long for that."""
    fits = max(side.pixels.width, side.pixels.height) <= _WEBP_SIDE_MAX
    settings = OutputSettings("webp", lossless=True, options={"method": 0}) if fits else OutputSettings("png")
    data = write_picture(side.pixels, Metadata(profile=side.profile), settings)
    return f"data:image/{settings.format};base64,{base64.b64encode(data).decode()}"
