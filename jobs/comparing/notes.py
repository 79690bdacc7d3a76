"""Notes of a report: sentences on missing figures, small overlaps, few pictures, and what was left out."""

from collections.abc import Sequence
from typing import NamedTuple

from jobs.comparing.comparison import OVERLAP_MIN, Comparison, Published
from jobs.comparing.metrics import METRICS, PSNR
from jobs.comparing.points import PLAIN, Series
from jobs.record import Record

STEPS_RATIO_MAX = 1.1  # of two qualities; a time budget alone makes runs of one effort differ by less
NAMES_MAX = 8  # in a note
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
    notes += merged([remark for comparison in comparisons for remark in _remarks(comparison)])
    notes += [f"{p.codec} against {p.anchor}: {p.delta.reason}." for p in published if p.delta.reason]
    return notes


class Remark(NamedTuple):
    """Remark on a codec against another, by one metric's title: `merged` makes one sentence of several alike.

    `against` is what follows the subject: against which codec, or what else.
    """

    subject: str
    against: str
    metric: str
    text: str


def merged(remarks: Sequence[Remark]) -> list[str]:
    """Return a sentence for all remarks of one text against one codec, with the metrics of each subject."""
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for subject, against, metric, text in remarks:
        groups.setdefault((against, text), {}).setdefault(subject, []).append(metric)
    notes = []
    for (against, text), metrics in groups.items():
        first, *others = metrics.values()
        if all(other == first for other in others):
            who = f"{joined(list(metrics))} {against}{'' if first == [PSNR.title] else f' on {joined(first)}'}"
        else:
            who = f"{joined([f'{subject} ({joined(on)})' for subject, on in metrics.items()])} {against}"
        notes.append(f"{who}: {text}.")
    return notes


def joined(parts: Sequence[str]) -> str:
    """Join parts with commas, the last with "and"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _remarks(c: Comparison) -> list[Remark]:
    """Return what there is to remark on a comparison of two codecs."""
    texts, count = list[str](), len(c.per_image)
    if c.averaged.reason:
        texts.append(c.averaged.reason)
    elif c.averaged.overlap is not None and c.averaged.overlap < OVERLAP_MIN:
        texts.append(f"they share only {100 * c.averaged.overlap:.0f} % of the narrower range")
    falling = {image: delta.reason for image, delta in c.per_image.items() if not delta.monotone}
    if falling:
        image, reason = next(iter(falling.items()))
        texts.append(
            f"{len(falling)} of {count} pictures are left out of what is counted by picture, as a curve of theirs "
            f"falls ({image}: {reason})"
        )
    apart = count - c.compared - len(falling)
    if apart and not c.averaged.reason:
        texts.append(
            f"{apart} of {count} pictures have no BD-rate of their own, as their curves share no quality or have too "
            "few points"
        )
    return [Remark(c.codec, f"against {c.ladder}", _title(c.metric), text) for text in texts]


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


def exact_note(records: list[Record]) -> list[str]:
    """Note the pictures of which blocks are stored exactly, as averages mix them with photographs."""
    exact = sorted({record.input for record in records if record.measured.exact_blocks})
    if not exact:
        return []
    text = (
        "are stored exactly, as those of screenshots, drawings and logos: such pictures gain otherwise than photographs"
    )
    return [f"Blocks of {_named(exact)} {text}, so judge them by their own rows."]


def _named(names: list[str]) -> str:
    """List some names, and the number of the others."""
    rest = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {rest} more" if rest > 0 else "")
