"""Measured figures of the README: names and values, the tables they stand in, the file that keeps them.

The invariant: a table shows kept figures alone, so that a README whose tables are these says what was measured.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from codec.config_files import config_folder
from codec.errors import ConfigError
from codec.files import write_atomically
from jobs.comparing.metrics import BUTTERAUGLI, MS_SSIM, PSNR, SSIMULACRA2
from jobs.comparing.points import PLAIN, REFINED
from jobs.comparing.report import Report
from jobs.comparing.savings import AtQuality, Saving

MOVED_PERCENT = 2.0  # relative change above which a figure has moved
MOVED_LEAST = 0.1  # and at least this, in its own unit: percent, dB, points
SEEN, SQUARED = "visual", "mse"  # the two comparisons
PEERS_SEEN, PEERS_SQUARED = ("AVIF", "JPEG XL"), ("JPEG", "WebP")

Curves = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Figures:
    """Figures of one run over a set of pictures.

    Attributes:
        command: command line that measures them.
        pictures: number of pictures.
        settings: settings of every codec.
        versions: versions of libraries and the machine.
        values: name -> value; its parts are comparison, quality, what, and codec, between slashes.
        curves: codec -> (bpp, SSIMULACRA 2), averages over the pictures, for the chart.
    """

    command: str
    pictures: int
    settings: dict[str, str]
    versions: dict[str, str]
    values: dict[str, float]
    curves: Curves


def collect(command: str, seen: Report, squared: Report) -> Figures:
    """Collect the figures of the comparison for the eye and of that for the mse."""
    values = {**_values(SEEN, seen, PEERS_SEEN), **_values(SQUARED, squared, PEERS_SQUARED)}
    for comparison in squared.comparisons:
        if comparison.metric == PSNR.name and comparison.averaged.pchip_percent is not None:
            name = f"{SQUARED}/bd_rate/{comparison.codec}/{comparison.anchor}"
            values[name] = comparison.averaged.pchip_percent
    for published in squared.published:
        if published.delta.pchip_percent is not None:
            values[f"{SQUARED}/bd_rate/{published.codec}/{published.anchor}"] = published.delta.pchip_percent
    curves = {
        curve.codec: [
            (bpp, points) for bpp, points in zip(curve.bpp, curve.ssimulacra2, strict=True) if points is not None
        ]
        for curve in seen.curves
        if curve.codec in (PLAIN, REFINED, *seen.best.get(SSIMULACRA2.name, {}).values())
    }
    return Figures(
        command, len(seen.averaged_over), {**squared.settings, **seen.settings}, seen.versions, values, curves
    )


def tables(figures: Figures) -> str:
    """Return the README's tables in Markdown: refinement for the eye, then for the mse."""
    return "\n\n".join((_table_seen(figures), _table_squared(figures))) + "\n"


def differences(kept: Figures, measured: Figures) -> list[str]:
    """Name the figures that moved by more than noise, appeared or went, a line each."""
    lines = []
    for name in dict.fromkeys((*kept.values, *measured.values)):
        before, after = kept.values.get(name), measured.values.get(name)
        if before is None or after is None:
            lines.append(f"{name}: {_shown(before)} -> {_shown(after)}")
        elif abs(after - before) > max(MOVED_LEAST, MOVED_PERCENT / 100 * abs(before)):
            lines.append(f"{name}: {before:.4g} -> {after:.4g}")
    return lines


def write(figures: Figures, path: Path) -> None:
    """Write figures as JSON, whole or not at all."""
    write_atomically(path, (json.dumps(asdict(figures), indent=1, allow_nan=False) + "\n").encode())


def read(path: Path) -> Figures:
    """Read figures.

    Raises:
        ConfigError: the file is none of figures.
    """
    try:
        found = json.loads(path.read_bytes())
        curves = {codec: [(bpp, points) for bpp, points in curve] for codec, curve in found.pop("curves").items()}
        return Figures(**found, curves=curves)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: holds no figures of rdo-bench reproduce") from error


def kept_path() -> Path:
    """Return the file of the figures that the README shows."""
    return config_folder() / "measured" / "kodak.json"


def _values(name: str, report: Report, peers: Sequence[str]) -> dict[str, float]:
    found: dict[str, float | None] = {}
    curves = {curve.codec: curve for curve in report.curves}
    for q in report.qualities:
        at = f"{name}/{q.quality:g}"
        for codec in (PLAIN, REFINED):
            curve = curves[codec]
            index = curve.settings.index(f"quality {q.quality:g}")
            found |= {
                f"{at}/bpp/{codec}": curve.bpp[index],
                f"{at}/psnr/{codec}": curve.psnr_db[index],
                f"{at}/ms_ssim/{codec}": curve.ms_ssim[index],
                f"{at}/ssimulacra2/{codec}": curve.ssimulacra2[index],
            }
        found |= {f"{at}/gain": q.gain_percent, f"{at}/gain/least": q.gain_least_percent}
        found |= {f"{at}/gain/most": q.gain_most_percent, f"{at}/bytes": q.bytes_percent}
        found |= _saved(f"{at}/saved", q, peers)
    return {key: value for key, value in found.items() if value is not None}


def _saved(at: str, q: AtQuality, peers: Sequence[str]) -> dict[str, float | None]:
    """Return savings at equal metric on plain encoding and on the peers: mean, interval, and the least of a picture."""
    found: dict[str, float | None] = {}
    for metric in (PSNR, MS_SSIM, SSIMULACRA2, BUTTERAUGLI):
        savings = {PLAIN: q.saved[metric.name]} | {p: q.against_on[metric.name].get(p, Saving(None, 0)) for p in peers}
        for codec, saving in savings.items():
            key = f"{at}/{metric.name}/{codec}"
            found |= {key: saving.saving_percent, f"{key}/least": saving.least_percent}
            if saving.interval is not None:
                found |= {f"{key}/low": saving.interval.low, f"{key}/high": saving.interval.high}
    return found


def _table_seen(figures: Figures) -> str:
    values = figures.values
    rows = [("plain: bpp, SSIMULACRA 2", "{bpp/plain:.3f}, {ssimulacra2/plain:.1f}")]
    rows += [("refined: bpp, SSIMULACRA 2", "{bpp/refined:.3f}, {ssimulacra2/refined:.1f}")]
    for codec, title in ((PLAIN, "plain encoding"), *((peer, peer) for peer in PEERS_SEEN)):
        key = f"saved/ssimulacra2/{codec}"
        rows.append(
            (
                f"saved at equal SSIMULACRA 2: on {title}",
                f"**{{{key}:.1f}} %** ({{{key}/low:.1f}} to {{{key}/high:.1f}})",
            )
        )
        rows.append(("... on the picture where it is least", f"{{{key}/least:.1f}} %"))
    for codec, title in ((PLAIN, "plain encoding"), ("AVIF", "AVIF")):
        rows.append((f"saved at equal Butteraugli: on {title}", f"{{saved/butteraugli/{codec}:.1f}} %"))
    rows.append(("saved at equal MS-SSIM: on plain encoding", "{saved/ms_ssim/plain:.1f} %"))
    rows.append(("PSNR, dB", "{psnr/plain:.2f} -> {psnr/refined:.2f}"))
    return _table(values, SEEN, rows)


def _table_squared(figures: Figures) -> str:
    rows = [
        ("plain: bpp, PSNR", "{bpp/plain:.3f}, {psnr/plain:.2f} dB"),
        ("refined: bpp, PSNR", "{bpp/refined:.3f}, {psnr/refined:.2f} dB"),
        ("fall of cost: mean", "**{gain:.2f} %**"),
        ("... on the picture where it is least, most", "{gain/least:.2f} %, {gain/most:.2f} %"),
        ("saved at equal PSNR: on plain encoding", "{saved/psnr/plain:.1f} %"),
    ]
    rows += [(f"... on {peer}", f"{{saved/psnr/{peer}:.1f}} %") for peer in PEERS_SQUARED]
    return _table(figures.values, SQUARED, rows)


def _table(values: dict[str, float], name: str, rows: list[tuple[str, str]]) -> str:
    """Fill rows of a title and a pattern, {figure:format}, a column for each quality; a dash where a figure lacks."""
    qualities = list(dict.fromkeys(key.split("/")[1] for key in values if key.startswith(f"{name}/")))
    qualities = [quality for quality in qualities if f"{name}/{quality}/gain" in values]
    lines = [f"| quality | {' | '.join(qualities)} |", "|---|" + "---|" * len(qualities)]
    for title, pattern in rows:
        cells = [_fill(pattern, values, f"{name}/{quality}/") for quality in qualities]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _fill(pattern: str, values: dict[str, float], at: str) -> str:
    text = ""
    for part in pattern.split("{"):
        field, closed, rest = part.partition("}")
        if not closed:
            text += part
            continue
        key, _, spec = field.partition(":")
        if at + key not in values:
            return "-"
        text += format(values[at + key], spec) + rest
    return text


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
