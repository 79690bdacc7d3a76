"""What a reader must know before believing a report, in sentences: gaps, small overlaps, what was left out."""

from jobs.comparing.figures import OVERLAP_MIN, Comparison, Published
from jobs.comparing.points import PLAIN, Series
from jobs.record import Record

MIXED = 1.1  # times the steps of another quality: more than a budget of time makes of one effort
FEW = 10  # pictures; below, a bootstrap has little to resample


def cautions(
    series: dict[str, Series], images: list[str], comparisons: list[Comparison], published: list[Published]
) -> list[str]:
    """Where figures are missing or rest on little, and why."""
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
    elif 0 < fewest < FEW:
        notes.append(f"{fewest} pictures are few: take the intervals as rough.")
    if len(series[PLAIN].settings) < 2:
        text = "One quality only: a BD-rate needs two or more. Compare the fall of cost, and bits at equal PSNR."
        return [*notes, text]
    for c in comparisons:
        if c.averaged.reason:
            notes.append(f"{c.codec} against {c.anchor}: {c.averaged.reason}.")
        elif c.averaged.overlap is not None and c.averaged.overlap < OVERLAP_MIN:
            notes.append(
                f"{c.codec} against {c.anchor}: they share only {100 * c.averaged.overlap:.0f} % of the narrower range."
            )
        if len(c.per_image) > c.compared and not c.averaged.reason:
            notes.append(
                f"{c.codec} against {c.anchor}: {len(c.per_image) - c.compared} of {len(c.per_image)} pictures have no "
                "BD-rate of their own, as their curves share no quality or have too few points."
            )
    notes += [f"{p.codec} against {p.anchor}: {p.delta.reason}." for p in published if p.delta.reason]
    return notes


def effort_note(records: list[Record]) -> list[str]:
    """That points of one refined curve had different numbers of steps."""
    steps: dict[float, int] = {}
    for record in records:
        quality = record.quality or 0.0
        steps[quality] = max(steps.get(quality, 0), record.measured.iters)
    one_run = len({record.config_hash for record in records}) < 2  # whose targets gave it these qualities
    if one_run or max(steps.values()) <= MIXED * min(steps.values()):
        return []
    told = ", ".join(f"{count} at {quality:g}" for quality, count in sorted(steps.items()))
    return [f"Refined points are of different efforts: steps at each quality are {told}."]


def lesser_note(records: list[Record], main: list[Record]) -> list[str]:
    """Pictures whose files are all of a lesser effort than those reported."""
    left = {r.input for r in records if r.outcome} - {r.input for r in main}
    if not left:
        return []
    return [f"Left out, as their files are of a lesser effort than the others': {', '.join(sorted(left))}."]


def size_note(records: list[Record]) -> list[str]:
    """That pictures of different sizes weigh alike."""
    sizes = sorted({(r.measured.width, r.measured.height) for r in records}, key=lambda s: s[0] * s[1])
    if len({width * height for width, height in sizes}) < 2:
        return []
    (w0, h0), (w1, h1) = sizes[0], sizes[-1]
    return [f"Pictures differ in size ({w0}x{h0} to {w1}x{h1}): averages give each the same weight."]
