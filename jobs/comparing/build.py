"""Computation of a report from measurements alone."""

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from jobs.comparing.anchors import AnchorSet
from jobs.comparing.bit_split import BitSplit
from jobs.comparing.classical import ClassicalRecord
from jobs.comparing.comparison import Comparison, Published, bjontegaard_delta, compare_codecs
from jobs.comparing.ladders import LADDERS, codec_of, settings_text
from jobs.comparing.metrics import METRICS, PSNR, Metric
from jobs.comparing.notes import curve_notes, effort_note, exact_note, lesser_note, merged, size_note
from jobs.comparing.peers import best_ladders
from jobs.comparing.points import PLAIN, REFINED, Curve, Series, complete_images, group_by_effort, series_of
from jobs.comparing.report import SCHEMA, CodecCurve, Effort, Failure, Picture, Report
from jobs.comparing.savings import AtQuality, at_quality
from jobs.comparing.verdict import lead_metric, verdict
from jobs.record import Record
from rdo.presets import DEFAULT_EFFORT, effort
from rdo.tune import presets_of


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
    main = _refined(by_effort[-1]) if by_effort else []
    first = main[0] if main else None
    series = series_of(main, classical, plain=[*records, *main])
    images = complete_images(*series.values()) if series else []
    peers = {metric.name: best_ladders(series, metric) for metric in METRICS if _is_measured(series, metric)}
    best = {name: found.best for name, found in peers.items()}
    comparisons = _comparisons(series, best)
    curves = [_curve(s, images) for s in series.values()]
    qualities = _qualities(main, series, best)
    published = _published(curves, anchors) if images else []
    run_notes = [*lesser_note(records, main), *size_note(main), *exact_note(main), *effort_note(main)]
    figure_notes = curve_notes(series=series, images=images, comparisons=comparisons, published=published)
    rank_notes = merged([remark for found in peers.values() for remark in found.remarks])
    return Report(
        schema=SCHEMA,
        model=(first and first.model) or "",
        model_id=(first and first.model_id) or "",
        iters=max((float(r.measured.iters) for r in main), default=0.0),
        averaged_over=images,
        pictures=_pictures(main),
        curves=curves,
        comparisons=comparisons,
        qualities=qualities,
        efforts=[e for group in by_effort for e in _efforts(group)],
        splits=splits,
        anchors=anchors,
        published=published,
        failures=_failures(records, classical),
        notes=[*notes, *run_notes, *figure_notes, *rank_notes],
        settings={**settings, **{name: settings_text(name) for name in LADDERS if name in series}},
        versions=_versions(),
        best={name: {codec: s.codec for codec, s in found.items()} for name, found in best.items()},
        lead=lead_metric(comparisons).name,
        verdict=_verdict(comparisons, qualities, main),
    )


def _refined(records: list[Record]) -> list[Record]:
    """Leave out qualities that were encoded plainly alone, for the plain curve, where others were refined."""
    return [record for record in records if record.iters_asked or record.measured.iters] or records


def _is_measured(series: dict[str, Series], metric: Metric) -> bool:
    """Return whether any plain file has the metric; PSNR counts always, its absence is explained for each figure."""
    return metric == PSNR or (
        PLAIN in series and any(len(series[PLAIN].curve(i, metric).bpp) for i in series[PLAIN].points)
    )


def _comparisons(series: dict[str, Series], best: dict[str, dict[str, Series]]) -> list[Comparison]:
    """On each metric compare refined with plain and every classical codec's best, then plain with those."""
    if PLAIN not in series:
        return []
    found = []
    for metric in (m for m in METRICS if m.name in best):
        peers = best[metric.name].values()
        pairs = [(series[REFINED], series[PLAIN])]
        pairs += [(series[ours], peer) for ours in (REFINED, PLAIN) for peer in peers]
        found += [compare_codecs(ours, peer, metric, with_interval=ours.codec == REFINED) for ours, peer in pairs]
    return found


def _verdict(comparisons: list[Comparison], qualities: list[AtQuality], records: list[Record]) -> str:
    steps = max((r.measured.iters if r.iters_asked is None else r.iters_asked for r in records), default=0)
    tune = records[0].tune if records else None
    return verdict(comparisons, qualities, steps=steps, default_steps=effort(DEFAULT_EFFORT, presets_of(tune)).iters)


def _qualities(records: list[Record], series: dict[str, Series], best: dict[str, dict[str, Series]]) -> list[AtQuality]:
    return [at_quality(q, records, series[PLAIN], best) for q in sorted({r.quality for r in records if r.quality})]


def _curve(series: Series, images: list[str]) -> CodecCurve:
    means = series.means(images) if images else None
    return CodecCurve(
        codec=series.codec,
        settings=series.settings,
        bpp=[] if means is None else means.bpp.tolist(),
        psnr_db=[] if means is None else means.psnr_db.tolist(),
        ms_ssim=[] if means is None else means.ms_ssim,
        ms_ssim_db=[] if means is None else means.ms_ssim_db,
        ssimulacra2=[] if means is None else means.ssimulacra2,
        butteraugli_db=[] if means is None else means.butteraugli_db,
        points={
            image: [
                (p.bpp, p.psnr_db, p.ms_ssim, p.seconds, p.bytes, p.ssimulacra2, p.butteraugli) if p else None
                for p in row
            ]
            for image, row in series.points.items()
        },
        family=codec_of(series.codec),
    )


def _published(curves: list[CodecCurve], anchors: AnchorSet | None) -> list[Published]:
    if anchors is None:
        return []
    anchor = anchors.curves[anchors.anchor]
    return [
        Published(
            curve.codec,
            anchors.anchor,
            bjontegaard_delta(
                Curve(np.array(anchor.bpp), np.array(anchor.psnr_db)),
                Curve(np.array(curve.bpp), np.array(curve.psnr_db)),
                names=(anchors.anchor, curve.codec),
            ),
        )
        for curve in curves
    ]


def _efforts(records: list[Record]) -> list[Effort]:
    found = []
    for quality in sorted({r.quality for r in records if r.quality is not None}):
        runs = [r for r in records if r.quality == quality]
        found.append(
            Effort(
                quality=quality,
                iters=float(np.mean([r.measured.iters for r in runs])),
                images=len(runs),
                gain_percent=float(np.mean([r.measured.gain_percent for r in runs])),
                seconds=float(np.mean([r.seconds or 0.0 for r in runs])),
                megapixels=float(np.mean([r.measured.width * r.measured.height / 1e6 for r in runs])),
            )
        )
    return found


def _pictures(records: list[Record]) -> list[Picture]:
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.input, r.quality or 0)):
        found.setdefault(record.input, []).append(record)
    return [
        Picture(
            image=image,
            width=runs[0].measured.width,
            height=runs[0].measured.height,
            gain_percent={_key(r.quality): r.measured.gain_percent for r in runs},
            seconds={_key(r.quality): r.seconds for r in runs if r.seconds is not None},
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
