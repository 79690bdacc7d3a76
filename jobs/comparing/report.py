"""Contents of a report, computed from measurements alone; the page, the JSON and the tables all show this.

The invariant: every number in it is finite or None, and a None that a reader may miss has a sentence in `notes` or a
`reason` beside it.
"""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from jobs.comparing.anchors import AnchorSet
from jobs.comparing.bit_split import BitSplit
from jobs.comparing.classical import LADDERS, ClassicalRecord, settings_text
from jobs.comparing.figures import AtQuality, Comparison, Published, at_quality, bjontegaard_delta, compare_codecs
from jobs.comparing.notes import curve_notes, effort_note, lesser_note, size_note
from jobs.comparing.points import PLAIN, REFINED, Series, complete_images, group_by_effort, series_of
from jobs.record import Record

SCHEMA = "rdo-report-1"


@dataclass(frozen=True)
class CodecCurve:
    """Averaged curve of one codec, over the pictures that every codec encoded at every setting, and each picture's own.

    `points` holds (bpp, psnr_db, ms_ssim, seconds, bytes) of each setting, or None.
    """

    codec: str
    settings: tuple[str, ...]
    bpp: list[float]
    psnr_db: list[float]
    ms_ssim: list[float | None]
    points: dict[str, list[tuple[float, float | None, float | None, float | None, int] | None]]


@dataclass(frozen=True)
class Effort:
    """Refinement at one quality and number of steps: means over pictures, with `seconds` from reading to writing."""

    quality: float
    iters: float
    images: int
    gain_percent: float
    seconds: float
    megapixels: float


@dataclass(frozen=True)
class Picture:
    """Size of one picture in px, and its gain and encoding seconds at each quality."""

    image: str
    width: int | None
    height: int | None
    gain_percent: dict[str, float]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """Picture that a codec failed on, with the reason."""

    image: str
    codec: str
    error: str


@dataclass(frozen=True)
class Report:
    """Figures, notes and settings of one comparison, the contents of report.json.

    Attributes:
        schema: version of this form.
        model: name of the model.
        model_id: identity of its weights, hexadecimal.
        iters: greatest number of refinement steps.
        averaged_over: pictures of the averaged curves.
        pictures: every picture of the greatest effort.
        curves: curves of every codec.
        comparisons: refined against plain and classical codecs, then plain against classical codecs.
        qualities: effect of refinement at each quality.
        efforts: gain against time at each quality and effort.
        splits: bytes of y, z and overhead.
        anchors: published curves, if any are shown.
        published: averaged curves against the published anchor.
        failures: pictures that a codec failed on.
        notes: sentences on what the figures do not tell.
        settings: the command, and the settings of each codec.
        versions: versions of libraries and the machine.
    """

    schema: str
    model: str
    model_id: str
    iters: float
    averaged_over: list[str]
    pictures: list[Picture]
    curves: list[CodecCurve]
    comparisons: list[Comparison]
    qualities: list[AtQuality]
    efforts: list[Effort]
    splits: list[BitSplit]
    anchors: AnchorSet | None
    published: list[Published]
    failures: list[Failure]
    notes: list[str]
    settings: dict[str, str]
    versions: dict[str, str]

    def to_json(self) -> str:
        """Return the report as JSON; raise ValueError where a number is not finite."""
        return json.dumps(asdict(self), allow_nan=False)


def build_report(
    records: list[Record],
    *,
    classical: list[ClassicalRecord],
    splits: list[BitSplit],
    anchors: AnchorSet | None,
    notes: list[str],
    settings: dict[str, str],
) -> Report:
    """Compute every figure; records of the greatest effort are the codec `refined`.

    Args:
        records: of one model, each picture at each quality and effort.
        classical: points of classical codecs.
        splits: bit splits of the greatest effort's files.
        anchors: published curves to show.
        notes: sentences that go before those found here.
        settings: the command and the refinement's settings, as text.
    """
    by_effort = group_by_effort(records)
    main = by_effort[-1] if by_effort else []
    series = series_of(main, classical)
    images = complete_images(*series.values()) if series else []
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
            *curve_notes(series=series, images=images, comparisons=comparisons, published=published),
        ],
        settings={**settings, **{name: settings_text(name) for name in used}},
        versions=_versions(),
    )


def _comparisons(series: dict[str, Series]) -> list[Comparison]:
    """Compare refined with plain and every classical codec, then plain with those."""
    if PLAIN not in series:
        return []
    others = [s for name, s in series.items() if name not in (PLAIN, REFINED)]
    pairs = [(series[REFINED], series[PLAIN])]
    pairs += [(series[ours], other) for ours in (REFINED, PLAIN) for other in others]
    return [compare_codecs(codec, anchor, with_interval=codec.codec == REFINED) for codec, anchor in pairs]


def _qualities(records: list[Record], series: dict[str, Series]) -> list[AtQuality]:
    others = [s for name, s in series.items() if name not in (PLAIN, REFINED)]
    return [at_quality(q, records, series[PLAIN], others) for q in sorted({r.quality for r in records if r.quality})]


def _curve(series: Series, images: list[str]) -> CodecCurve:
    means = series.means(images) if images else None
    return CodecCurve(
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


def _published(curves: list[CodecCurve], anchors: AnchorSet | None) -> list[Published]:
    if anchors is None:
        return []
    anchor = anchors.curves[anchors.anchor]
    return [
        Published(
            curve.codec,
            anchors.anchor,
            bjontegaard_delta(anchor_bpp=anchor.bpp, anchor_db=anchor.psnr_db, bpp=curve.bpp, psnr_db=curve.psnr_db),
        )
        for curve in curves
    ]


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
    """Format a quality as the page's JavaScript does: 2 and not 2.0."""
    return repr(quality or 0.0).removesuffix(".0")


def _failures(records: list[Record], classical: list[ClassicalRecord]) -> list[Failure]:
    """Collect failures, once for each picture, codec and reason."""
    ours = [(r.input, "rdo", r.error) for r in records if r.status == "failed" and r.error]
    theirs = [(c.input, c.codec, c.error) for c in classical if c.error]
    return [Failure(image, codec, error) for image, codec, error in dict.fromkeys(ours + theirs)]


def _versions() -> dict[str, str]:
    """Return the versions of Python, the machine and the libraries that results depend on."""
    found = {"Python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in ("rdo", "torch", "compressai", "constriction", "numpy", "scipy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
