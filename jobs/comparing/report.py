"""A report's contents, from measurements alone: the same for the page, the JSON and the tables.

The invariant: every number in it is finite or null, and every null that a reader may miss has a sentence in `notes`
or a `reason` beside it.
"""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from jobs.comparing.anchors import AnchorSet
from jobs.comparing.classical import LADDERS, ClassicalRecord, settings_text
from jobs.comparing.details import Split
from jobs.comparing.figures import AtQuality, Comparison, Published, at_quality, compare, delta
from jobs.comparing.notes import cautions, effort_note, lesser_note, size_note
from jobs.comparing.points import PLAIN, REFINED, Series, complete, efforts, series_of
from jobs.record import Record

SCHEMA = "rdo-report-1"


@dataclass(frozen=True)
class Curve:
    """A codec's averaged curve over the pictures that every codec encoded at every setting, and each picture's own.

    `points` holds (bpp, psnr_db, ms_ssim, seconds, bytes) of each setting, or null.
    """

    codec: str
    settings: tuple[str, ...]
    bpp: list[float]
    psnr_db: list[float]
    ms_ssim: list[float | None]
    points: dict[str, list[tuple[float, float | None, float | None, float | None, int] | None]]


@dataclass(frozen=True)
class Effort:
    """Refinement at one quality and one number of steps; means over pictures, `seconds` from reading to writing."""

    quality: float
    iters: float
    images: int
    gain_percent: float
    seconds: float
    megapixels: float


@dataclass(frozen=True)
class Picture:
    """One picture: its size, and its gain and seconds at each quality."""

    image: str
    width: int | None
    height: int | None
    gain_percent: dict[str, float]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """What failed, with its reason."""

    image: str
    codec: str
    error: str


@dataclass(frozen=True)
class Report:
    """All that a report says; `averaged_over` names the pictures of the averaged curves."""

    schema: str
    model: str
    model_id: str
    iters: float
    averaged_over: list[str]
    pictures: list[Picture]
    curves: list[Curve]
    comparisons: list[Comparison]
    qualities: list[AtQuality]
    efforts: list[Effort]
    splits: list[Split]
    anchors: AnchorSet | None
    published: list[Published]
    failures: list[Failure]
    notes: list[str]
    settings: dict[str, str]
    versions: dict[str, str]

    def to_json(self) -> str:
        """JSON; raises ValueError rather than writing a NaN."""
        return json.dumps(asdict(self), allow_nan=False)


def build_report(
    records: list[Record],
    classical: list[ClassicalRecord],
    splits: list[Split],
    anchors: AnchorSet | None,
    notes: list[str],
    settings: dict[str, str],
) -> Report:
    """Compute every figure; the greatest effort among the records is `refined`."""
    by_effort = efforts(records)
    main = by_effort[-1] if by_effort else []
    series = series_of(main, classical)
    images = complete(*series.values()) if series else []
    comparisons = _comparisons(series)
    curves = [_curve(s, images) for s in series.values()]
    failures = _failures(records, classical)
    published = _published(curves, anchors) if images else []
    iters = [float(r.measured.iters) for r in main]
    one = main[0] if main else None
    used = [name for name in LADDERS if name in series]
    return Report(
        schema=SCHEMA,
        model=one.model or "" if one else "",
        model_id=one.model_id or "" if one else "",
        iters=max(iters, default=0.0),
        averaged_over=images,
        pictures=_pictures(main),
        curves=curves,
        comparisons=comparisons,
        qualities=_qualities(main, series),
        efforts=[e for records_of in by_effort for e in _efforts(records_of)],
        splits=splits,
        anchors=anchors,
        published=published,
        failures=failures,
        notes=[
            *notes,
            *lesser_note(records, main),
            *size_note(main),
            *effort_note(main),
            *cautions(series, images, comparisons, published),
        ],
        settings={**settings, **{name: settings_text(name) for name in used}},
        versions=_versions(),
    )


def _comparisons(series: dict[str, Series]) -> list[Comparison]:
    """Refined against plain and every classical codec, then plain against those."""
    if PLAIN not in series:
        return []
    others = [s for name, s in series.items() if name not in (PLAIN, REFINED)]
    pairs = [(series[REFINED], series[PLAIN])]
    pairs += [(series[ours], other) for ours in (REFINED, PLAIN) for other in others]
    return [compare(codec, anchor, with_interval=codec.codec == REFINED) for codec, anchor in pairs]


def _qualities(records: list[Record], series: dict[str, Series]) -> list[AtQuality]:
    others = [s for name, s in series.items() if name not in (PLAIN, REFINED)]
    return [at_quality(q, records, series[PLAIN], others) for q in sorted({r.quality for r in records if r.quality})]


def _curve(series: Series, images: list[str]) -> Curve:
    means = series.means(images) if images else None
    return Curve(
        series.codec,
        series.settings,
        [] if means is None else means.bpp.tolist(),
        [] if means is None else means.psnr_db.tolist(),
        [] if means is None else means.ms_ssim,
        {
            image: [(p.bpp, p.psnr_db, p.ms_ssim, p.seconds, p.bytes) if p else None for p in row]
            for image, row in series.points.items()
        },
    )


def _published(curves: list[Curve], anchors: AnchorSet | None) -> list[Published]:
    if anchors is None:
        return []
    anchor = anchors.curves[anchors.anchor]
    return [Published(c.codec, anchors.anchor, delta(anchor.bpp, anchor.psnr_db, c.bpp, c.psnr_db)) for c in curves]


def _efforts(records: list[Record]) -> list[Effort]:
    found = []
    for quality in sorted({r.quality for r in records if r.quality is not None}):
        runs = [r for r in records if r.quality == quality]
        found.append(
            Effort(
                quality,
                float(np.mean([r.measured.iters for r in runs])),
                len(runs),
                float(np.mean([r.measured.gain_percent for r in runs])),
                float(np.mean([r.seconds or 0.0 for r in runs])),
                float(np.mean([r.measured.width * r.measured.height / 1e6 for r in runs])),
            )
        )
    return found


def _pictures(records: list[Record]) -> list[Picture]:
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.input, r.quality or 0)):
        found.setdefault(record.input, []).append(record)
    return [
        Picture(
            image,
            runs[0].measured.width,
            runs[0].measured.height,
            {_key(r.quality): r.measured.gain_percent for r in runs},
            {_key(r.quality): r.seconds for r in runs if r.seconds is not None},
        )
        for image, runs in found.items()
    ]


def _key(quality: float | None) -> str:
    """As the page's JavaScript writes the number."""
    return repr(quality or 0.0).removesuffix(".0")


def _failures(records: list[Record], classical: list[ClassicalRecord]) -> list[Failure]:
    """What failed, once for each picture, codec and reason."""
    ours = [(r.input, "rdo", r.error) for r in records if r.status == "failed" and r.error]
    theirs = [(c.input, c.codec, c.error) for c in classical if c.error]
    return [Failure(image, codec, error) for image, codec, error in dict.fromkeys(ours + theirs)]


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in ("rdo", "torch", "compressai", "constriction", "numpy", "scipy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
