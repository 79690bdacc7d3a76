"""Exports of a report: the figures of every file as CSV, its tables and notes as Markdown."""

import csv
import io

from jobs.cli import printable
from jobs.comparing.comparison import Comparison, Published
from jobs.comparing.metrics import METRICS, PSNR, SCALES, Metric
from jobs.comparing.points import PLAIN, REFINED
from jobs.comparing.report import Report
from jobs.comparing.savings import Saving
from rdo.rd_curves import Interval

COLUMNS = ("image", "codec", "setting", "bytes", "bpp", "psnr_db", "ms_ssim", "ssimulacra2", "butteraugli", "seconds")


def as_csv(report: Report) -> str:
    """Write a line of CSV for each file; a cell is empty where there is no figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in report.curves:
        for image, row in sorted(curve.points.items()):
            for setting, point in zip(curve.settings, row, strict=True):
                if point is not None:
                    bpp, psnr_db, ms_ssim, seconds, size, *visual = point
                    scores = psnr_db, ms_ssim, *visual
                    writer.writerow((_cell(image), curve.codec, setting, size, bpp, *scores, seconds))
    return text.getvalue()


def as_markdown(report: Report) -> str:
    """Write the verdict, tables of BD-rates on each metric and of the gain at each quality, then the notes."""
    parts = [report.verdict, *(_bd_rates(report, metric) for metric in METRICS)]
    parts += [_qualities(report), *(_qualities_on(report, metric) for metric in METRICS if metric != PSNR)]
    parts.append("\n".join(f"- {_escape(note)}" for note in report.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(name: str) -> str:
    """Quote a file's name where a spreadsheet would take it for a formula."""
    name = printable(name)
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _escape(note: str) -> str:
    """Escape a sentence, as names of files in it may hold markup or control characters."""
    return printable(note).replace("<", "&lt;").replace("|", "\\|")


def percent(value: float | None) -> str:
    """Format a percentage with its sign, or a dash for None."""
    return "-" if value is None else f"{value:+.1f} %"


def _bd_rates(report: Report, metric: Metric) -> str:
    refined = {c.anchor: c for c in report.comparisons if c.codec == REFINED and c.metric == metric.name}
    plain = {c.anchor: c for c in report.comparisons if c.codec == PLAIN and c.metric == metric.name}
    published = {p.codec: p for p in report.published} if metric == PSNR else {}
    if not refined:
        return ""
    explained = (
        ": curves averaged over so many pictures, PCHIP (Akima), 95 % interval over pictures; then the mean of each "
        "picture's own and its wins, ties and losses. The shared range is given in its unit and as part of the "
        "narrower curve's own. A codec with several tunings or efforts is shown with the best on this metric."
    )
    scale = f", as {SCALES[metric.name]}" if metric.name in SCALES else ""
    lines = [
        f"BD-rate on {metric.title}{scale}, negative is smaller at equal {metric.title}"
        + (explained if metric == PSNR else "."),
        "",
        "| against (pictures) | refined | 95 % | mean of pictures | wins, ties, losses | "
        f"shared range, {metric.unit} | plain |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(c, plain.get(c.anchor)) for c in refined.values()]
    if REFINED in published:
        lines.append(_published_row(published[REFINED], published.get(PLAIN)))
    return "\n".join(lines)


def _row(c: Comparison, plain: Comparison | None) -> str:
    d = c.averaged
    both = "-" if d.pchip_percent is None else f"{percent(d.pchip_percent)} ({percent(d.akima_percent)})"
    count = f"{c.count.wins}, {c.count.ties}, {c.count.losses}"
    before = "" if plain is None else percent(plain.averaged.pchip_percent)
    name, own = f"{c.ladder} ({len(c.images)})", percent(c.mean_percent)
    return f"| {name} | {both} | {_interval(c.averaged_interval)} | {own} | {count} | {_range(c)} | {before} |"


def _published_row(refined: Published, plain: Published | None) -> str:
    d = refined.delta
    before = "" if plain is None else percent(plain.delta.pchip_percent)
    span = "-" if d.psnr_low_db is None else f"{d.psnr_low_db:.1f} to {d.psnr_high_db:.1f}"
    both = f"{percent(d.pchip_percent)} ({percent(d.akima_percent)})"
    return f"| {refined.anchor}, published | {both} | - | - | - | {span} | {before} |"


def _range(c: Comparison) -> str:
    d = c.averaged
    if d.metric_low is None or d.overlap is None:
        return "none"
    return f"{d.metric_low:.1f} to {d.metric_high:.1f} ({100 * d.overlap:.0f} %)"


def _qualities(report: Report) -> str:
    if not report.qualities:
        return ""
    others = list(report.qualities[0].against)
    lines = [
        f"Refined (at most {report.iters:g} steps) against plain: fall of cost (bpp + lambda * distortion), bits saved "
        "at equal PSNR (over so many pictures), bytes and PSNR"
        + ("; then bits at equal PSNR against other codecs." if others else "."),
        "",
        "| quality | pictures | fall of cost | 95 % | least, most | saved at equal PSNR | 95 % | bytes | PSNR |"
        + "".join(f" {report.best[PSNR.name][name]} |" for name in others),
        "|---|---|---|---|---|---|---|---|---|" + "---|" * len(others),
    ]
    for q in report.qualities:
        saving = "-" if q.saving_percent is None else f"{q.saving_percent:.2f} % ({q.saving_images})"
        change = "-" if q.psnr_change_db is None else f"{q.psnr_change_db:+z.2f} dB"
        lines.append(
            f"| {q.quality:g} | {q.images} | {q.gain_percent:.2f} % | {_interval(q.gain_interval)} | "
            f"{q.gain_least_percent:.2f} %, {q.gain_most_percent:.2f} % | {saving} | {_interval(q.saving_interval)} | "
            f"{percent(q.bytes_percent)} | {change} |" + "".join(f" {_against(q.against[name])} |" for name in others)
        )
    return "\n".join(lines)


def _qualities_on(report: Report, metric: Metric) -> str:
    if not any(q.saved[metric.name].images or q.change[metric.name] is not None for q in report.qualities):
        return ""
    others = report.best.get(metric.name, {})
    lines = [
        f"Refined against plain on {metric.title}: its change, and bits saved at equal {metric.title} (over so many "
        "pictures) with a 95 % interval"
        + ("; then bits against other codecs, with the picture of most." if others else "."),
        "",
        f"| quality | {metric.title} | saved at equal {metric.title} |"
        + "".join(f" {ladder} |" for ladder in others.values()),
        "|---|---|---|" + "---|" * len(others),
    ]
    for q in report.qualities:
        change, saving = q.change[metric.name], q.saved[metric.name]
        moved = "-" if change is None else f"{change:+z.2f} {metric.unit}"
        saved = "-" if saving.saving_percent is None else f"{saving.saving_percent:.2f} % ({saving.images})"
        saved += "" if saving.interval is None else f", {_interval(saving.interval)}"
        cells = "".join(f" {_against(q.against_on[metric.name][codec])} |" for codec in others)
        lines.append(f"| {q.quality:g} | {moved} | {saved} |{cells}")
    return "\n".join(lines)


def _against(saving: Saving) -> str:
    """Format the bits against another codec: mean over so many pictures, interval, and the worst picture."""
    if saving.saving_percent is None or saving.least_percent is None:
        return "-"
    mean = f"{percent(-saving.saving_percent)} ({saving.images})"
    if saving.interval is None:
        return mean
    return f"{mean}, {-saving.interval.high:.1f} to {-saving.interval.low:.1f}, most {percent(-saving.least_percent)}"


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
