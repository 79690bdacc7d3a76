"""Table at the end of a run: plain against refined, or plain alone where nothing was refined."""

from codec.architecture import LINEAR_PROFILE
from jobs.cli import printable
from jobs.record import Outcome, Record, Score

NAME_WIDTH = 24  # characters
_PLAIN = f"{'picture':{NAME_WIDTH}} {'quality':>7} {'bytes':>9} {'PSNR':>6} {'MS-SSIM':>7} {'SSIMULACRA 2':>12}"
_SCORES = f"{'PSNR':>14} {'MS-SSIM':>14} {'SSIMULACRA 2':>14}"  # before -> after
_COLUMNS = f"{'quality':>7} {'plain':>9} {'refined':>9} {'bytes':>7} {_SCORES} {'cost':>7}"
_HEAD = f"{'picture':{NAME_WIDTH}} {_COLUMNS}"


def summary(records: list[Record], folder: str | None = None) -> str:
    """Return one line for each image, their total, the names of those that failed, and where the files are."""
    scored = [(r, r.outcome) for r in records if r.outcome]
    if all(found.iters == 0 and found.plain == found.refined for _, found in scored):
        lines = [_PLAIN, *(_plain_line(r, found.plain) + _hard(found) for r, found in scored)] if scored else []
    else:
        lines = [_HEAD, *(_line(r, found) + _hard(found) for r, found in scored)]
        if len(scored) > 1:
            lines.append(_total([found for _, found in scored]))
    lines += [f"{_short(r.input)} failed" for r in records if r.status == "failed"]
    skipped = sum(r.status == "skipped" for r in records)
    if skipped:
        lines.append(f"{skipped} of {len(records)} were done before, and unchanged")
    if folder and (scored or skipped):
        lines.append(f"the files are in {printable(folder)}")
    return "\n".join(lines)


def _hard(outcome: Outcome) -> str:
    """Return the mark of a picture that was too hard for the model's networks."""
    return "  linear path" if outcome.gain_profile == LINEAR_PROFILE else ""


def _plain_line(record: Record, plain: Score) -> str:
    scores = f"{_db(plain.psnr_db):>6} {_ms_ssim(plain):>7} {_ssimulacra2(plain):>12}"
    return f"{_name_and_quality(record)} {plain.bytes:>9} {scores}"


def _line(record: Record, outcome: Outcome) -> str:
    plain, refined = outcome.plain, outcome.refined
    psnr = f"{_db(plain.psnr_db)} -> {_db(refined.psnr_db)}"
    change = _percent(plain.bytes, refined.bytes)
    cost = 0.0 - outcome.gain_percent  # never -0.00
    sizes = f"{_name_and_quality(record)} {plain.bytes:>9} {refined.bytes:>9} {change}"
    scores = f"{psnr:>14} {_ms_ssim(plain, refined):>14} {_ssimulacra2(plain, refined):>14}"
    return f"{sizes} {scores} {cost:>+6.2f}%"


def _total(scored: list[Outcome]) -> str:
    plain, refined = sum(found.plain.bytes for found in scored), sum(found.refined.bytes for found in scored)
    gain = sum(found.gain_percent for found in scored) / len(scored)
    sizes = f"{'all, mean cost':{NAME_WIDTH + 8}} {plain:>9} {refined:>9} {_percent(plain, refined)}"
    return f"{sizes} {'':{len(_SCORES)}} {0.0 - gain:>+6.2f}%"


def _name_and_quality(record: Record) -> str:
    return f"{_short(record.input)} {record.quality or 0.0:>7.2f}"


def _short(name: str) -> str:
    name = printable(name)
    return f"{name if len(name) <= NAME_WIDTH else '...' + name[3 - NAME_WIDTH :]:{NAME_WIDTH}}"


def _percent(before: int, after: int) -> str:
    return f"{100 * (after / before - 1):>+6.1f}%"


def _db(value: float | None) -> str:
    return "exact" if value is None else f"{value:.2f}"


def _ms_ssim(*scores: Score) -> str:
    return " -> ".join(f"{s.ms_ssim:.4f}".lstrip("0") for s in scores if s.ms_ssim is not None)


def _ssimulacra2(*scores: Score) -> str:
    return " -> ".join(f"{s.ssimulacra2:.1f}" for s in scores if s.ssimulacra2 is not None)
