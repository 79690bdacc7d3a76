"""Notes of a report: sentences on missing figures, small overlaps, few pictures, and what was left out."""

from jobs.comparing.comparison import OVERLAP_MIN, Comparison, Published
from jobs.comparing.metrics import METRICS, PSNR
from jobs.comparing.points import PLAIN, Series
from jobs.record import Record

STEPS_RATIO_MAX = 1.1  # of two qualities; a time budget alone makes runs of one effort differ by less
PICTURES_FEW = 10  # below it a bootstrap has little to resample


def curve_notes(
    *, series: dict[str, Series], images: list[str], comparisons: list[Comparison], published: list[Published]
) -> list[str]:
    """Explain figures that are missing, or rest on few pictures or a small overlap of curves.

    Args:
        series: codec -> curves.
        images: pictures of the averaged curves.
        comparisons: every comparison of two codecs.
        published: every comparison with a published curve.
    """
    if PLAIN not in series:
        return ["No picture was encoded: there is nothing to compare."]
    rows = series[PLAIN].points.values()
    if len(rows) > 1 and len(series[PLAIN].settings) == len(rows) == sum(p is not None for row in rows for p in row):
        return ["Each picture has a quality of its own, as a target gives it: no averaged curves, no BD-rates."]
    notes = []
    known = set().union(*(s.points.keys() for s in series.values()))
    if len(images) < len(known):
        left = ", ".join(sorted(known - set(images)))
        what = "that some codec could not encode, or encoded exactly, at some setting"
        notes.append(f"Averaged curves leave out pictures {what}: {left}.")
    fewest = min((len(c.images) for c in comparisons), default=len(images))
    if fewest in (1, 2):
        notes.append("One or two pictures prove little: there are no intervals.")
    elif 0 < fewest < PICTURES_FEW:
        notes.append(f"{fewest} pictures are few: take the intervals as rough.")
    if len(series[PLAIN].settings) < 2:
        text = "One quality only: a BD-rate needs two or more. Compare the fall of cost, and bits at equal PSNR."
        return [*notes, text]
    on = {c.metric for c in comparisons}
    notes += [f"No figures on {m.title}: {m.lacking}." for m in METRICS if m.name not in on]
    notes += [note for comparison in comparisons for note in _overlap_notes(comparison)]
    notes += [f"{p.codec} against {p.anchor}: {p.delta.reason}." for p in published if p.delta.reason]
    return notes


def _overlap_notes(c: Comparison) -> list[str]:
    who = f"{c.codec} against {c.ladder}" + ("" if c.metric == PSNR.name else f" on {_title(c.metric)}")
    notes = []
    if c.averaged.reason:
        notes.append(f"{who}: {c.averaged.reason}.")
    elif c.averaged.overlap is not None and c.averaged.overlap < OVERLAP_MIN:
        notes.append(f"{who}: they share only {100 * c.averaged.overlap:.0f} % of the narrower range.")
    falling = {image: delta.reason for image, delta in c.per_image.items() if not delta.monotone}
    if falling:
        image, reason = next(iter(falling.items()))
        notes.append(
            f"{who}: {len(falling)} of {len(c.per_image)} pictures are left out of what is counted by picture, as a "
            f"curve of theirs falls ({image}: {reason})."
        )
    apart = len(c.per_image) - c.compared - len(falling)
    if apart and not c.averaged.reason:
        notes.append(
            f"{who}: {apart} of {len(c.per_image)} pictures have no BD-rate of their own, as their curves share no "
            "quality or have too few points."
        )
    return notes


def _title(metric: str) -> str:
    return next(m.title for m in METRICS if m.name == metric)


def effort_note(records: list[Record]) -> list[str]:
    """Note that points of one refined curve had different numbers of steps."""
    steps: dict[float, int] = {}
    for record in records:
        quality = record.quality or 0.0
        steps[quality] = max(steps.get(quality, 0), record.measured.iters)
    one_run = len({record.config_hash for record in records}) < 2  # its targets settled the qualities
    if one_run or max(steps.values()) <= STEPS_RATIO_MAX * min(steps.values()):
        return []
    listed = ", ".join(f"{count} at {quality:g}" for quality, count in sorted(steps.items()))
    return [f"Refined points are of different efforts: steps at each quality are {listed}."]


def lesser_note(records: list[Record], main: list[Record]) -> list[str]:
    """Note the pictures whose files are all of a lesser effort than those reported."""
    left = {r.input for r in records if r.outcome} - {r.input for r in main}
    if not left:
        return []
    return [f"Left out, as their files are of a lesser effort than the others': {', '.join(sorted(left))}."]


def size_note(records: list[Record]) -> list[str]:
    """Note that pictures of different sizes have equal weight in averages."""
    sizes = sorted({(r.measured.width, r.measured.height) for r in records}, key=lambda s: s[0] * s[1])
    if len({width * height for width, height in sizes}) < 2:
        return []
    (w0, h0), (w1, h1) = sizes[0], sizes[-1]
    return [f"Pictures differ in size ({w0}x{h0} to {w1}x{h1}): averages give each the same weight."]
