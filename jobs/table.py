"""The table that a run ends with: plain against refined."""

from pathlib import Path

from jobs.record import Record

NAME = 24  # characters
_COLUMNS = f"{'quality':>7} {'plain':>9} {'refined':>9} {'bytes':>7} {'PSNR':>14} {'MS-SSIM':>14} {'cost':>7}"
_HEAD = f"{'picture':{NAME}} {_COLUMNS}"


def summary(records: list[Record], folder: Path | None = None) -> str:
    """One line a picture, their mean, those that failed (whose reasons were told as they did), where the files are."""
    scored = [r for r in records if r.plain and r.refined]
    lines = [_HEAD, *(_line(r) for r in scored)] if scored else []
    if len(scored) > 1:
        plain = sum(r.plain.bytes for r in scored if r.plain)
        refined = sum(r.refined.bytes for r in scored if r.refined)
        gain = sum(r.gain_percent or 0.0 for r in scored) / len(scored)
        sizes = f"{'all, mean cost':{NAME + 8}} {plain:>9} {refined:>9} {_percent(plain, refined)}"
        lines.append(f"{sizes} {'':29} {0.0 - gain:>+6.2f}%")
    lines += [f"{_short(r.input)} failed" for r in records if r.status == "failed"]
    skipped = sum(r.status == "skipped" for r in records)
    if skipped:
        lines.append(f"{skipped} of {len(records)} were done before, and unchanged")
    if folder and (scored or skipped):
        lines.append(f"the files are in {folder}")
    return "\n".join(lines)


def _line(record: Record) -> str:
    plain, refined = record.plain, record.refined
    assert plain and refined and record.quality
    psnr = f"{_db(plain.psnr_db)} -> {_db(refined.psnr_db)}"
    ms_ssim = f"{_ms_ssim(plain.ms_ssim)} -> {_ms_ssim(refined.ms_ssim)}" if plain.ms_ssim is not None else ""
    change = _percent(plain.bytes, refined.bytes)
    cost = 0.0 - (record.gain_percent or 0.0)  # never -0.00
    sizes = f"{record.quality:>7.2f} {plain.bytes:>9} {refined.bytes:>9}"
    return f"{_short(record.input)} {sizes} {change} {psnr:>14} {ms_ssim:>14} {cost:>+6.2f}%"


def _short(name: str) -> str:
    return f"{name if len(name) <= NAME else '...' + name[3 - NAME :]:{NAME}}"


def _percent(before: int, after: int) -> str:
    return f"{100 * (after / before - 1):>+6.1f}%"


def _db(value: float | None) -> str:
    return "exact" if value is None else f"{value:.2f}"


def _ms_ssim(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}".lstrip("0")
