"""Table at the end of a run: plain against refined, or plain alone where nothing was refined."""

import math

from codec.architecture import LINEAR_PROFILE
from codec.images.mosaic import mask_shape
from jobs.cli import printable
from jobs.record import Outcome, Record, Score

NAME_WIDTH = 24  # characters
_PLAIN = f"{'picture':{NAME_WIDTH}} {'quality':>7} {'bytes':>9} {'PSNR':>6} {'MS-SSIM':>7} {'SSIMULACRA 2':>12}"
_SCORES = f"{'PSNR':>14} {'MS-SSIM':>14} {'SSIMULACRA 2':>14}"  # before -> after
_COLUMNS = f"{'quality':>7} {'plain':>9} {'refined':>9} {'bytes':>7} {_SCORES} {'cost':>7}"
_HEAD = f"{'picture':{NAME_WIDTH}} {_COLUMNS}"


class Table:
    """Table of a run whose records come one after the other: keeps a line of each, as records take much more.

    Attributes:
        failed: names of the pictures that failed.
        metadata_bytes: what all files hold besides their pictures.
        scored: number of pictures with a file.
        exact: number of those whose file holds them losslessly, all by exact blocks.
    """

    def __init__(self) -> None:
        self.failed, self.metadata_bytes, self.scored, self.exact = list[str](), 0, 0, 0
        self._count = self._skipped = self._plain_bytes = self._refined_bytes = 0
        self._gain_percent = 0.0
        self._lines = list[str]()
        self._plain_lines: list[str] | None = []  # None once a picture was refined

    def add(self, record: Record) -> None:
        """Add a line for an image."""
        self._count += 1
        self._skipped += record.status == "skipped"
        if record.status == "failed":
            self.failed.append(record.input)
        if found := record.outcome:
            self.scored += 1
            self.exact += _is_exact(found)
            self.metadata_bytes += found.metadata_bytes
            self._plain_bytes += found.plain.bytes
            self._refined_bytes += found.refined.bytes
            self._gain_percent += found.gain_percent
            self._lines.append(_line(record, found) + _mark(found))
            if found.iters or found.plain != found.refined:
                self._plain_lines = None
            elif self._plain_lines is not None:
                self._plain_lines.append(_plain_line(record, found.plain) + _mark(found))

    def text(self, folder: str | None = None) -> str:
        """Return one line for each image, their total, the names of those that failed, and where the files are."""
        lines = list[str]()
        if self._plain_lines:
            lines = [_PLAIN, *self._plain_lines]
        elif self._plain_lines is None:
            lines = [_HEAD, *self._lines, *([self._total()] if self.scored > 1 else [])]
        lines += [f"{_short(name)} failed" for name in self.failed]
        if self._skipped:
            lines.append(f"{self._skipped} of {self._count} were done before, and unchanged")
        if folder and (self.scored or self._skipped):
            lines.append(f"the files are in {printable(folder)}")
        return "\n".join(lines)

    def _total(self) -> str:
        sizes = f"{self._plain_bytes:>9} {self._refined_bytes:>9} {_percent(self._plain_bytes, self._refined_bytes)}"
        change = 0.0 - self._gain_percent / self.scored
        return f"{'all, mean cost':{NAME_WIDTH + 8}} {sizes} {'':{len(_SCORES)}} {change:>+6.2f}%"


def _mark(outcome: Outcome) -> str:
    """Return the mark of a picture that the model's networks were not used for, or that was too hard for them."""
    if _is_exact(outcome):
        return "  stored exactly"
    return "  linear path" if outcome.gain_profile == LINEAR_PROFILE else ""


def _is_exact(outcome: Outcome) -> bool:
    """Tell whether a file holds its whole picture losslessly."""
    return outcome.exact_blocks == math.prod(mask_shape(outcome.width, outcome.height))


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
