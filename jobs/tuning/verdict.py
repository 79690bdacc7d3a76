"""What a study found: its best recipes against the shipped presets on photos that no trial saw, and the files of both.

The gain that a search reports for its own best is too high, as the best was chosen by it. The held-out gain is not.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from codec.files import write_atomically
from codec.settings import to_mapping
from jobs.cli import say
from jobs.record import Record
from jobs.tuning.study import Study, Trial, means
from jobs.tuning.trials import Bench, Case
from rdo.bd_rate import Interval, paired_bootstrap
from rdo.config import RefineConfig
from rdo.presets import recipe as preset
from rdo.presets import usual_method


@dataclass(frozen=True)
class HeldOut:
    """A recipe against the preset of as many steps on the same photos; `interval` is of the difference, 95 %."""

    photos: int
    gain_percent: float
    seconds: float
    preset_gain_percent: float
    preset_seconds: float
    difference_percent: float
    interval: Interval | None


@dataclass(frozen=True)
class Verdict:
    """One of the best trials, its recipe's file, and what became of it on held-out photos, if there are any.

    `failures` counts what could not be encoded there, with the recipe or the preset; `held_out` is of the others.
    """

    trial: int
    gain_percent: float
    seconds: float
    recipe: RefineConfig
    file: str
    held_out: HeldOut | None
    failures: int = 0


def judge(study: Study, bench: Bench, held_out: list[Case], folder: Path) -> list[Verdict]:
    """A verdict on the best trial, or on each of the front."""
    found = []
    for trial in study.best():
        assert trial.values is not None and trial.seconds is not None
        recipe = study.config.recipe(trial.params)
        name = "best.yaml" if len(study.config.objectives) == 1 else f"trial-{trial.number}.yaml"
        outcome, failures = _compare(bench, recipe, held_out)
        gain = trial.values["gain_percent"]
        found.append(Verdict(trial.number, gain, trial.seconds, recipe, str(folder / name), outcome, failures))
    return found


def _compare(bench: Bench, recipe: RefineConfig, cases: list[Case]) -> tuple[HeldOut | None, int]:
    """Over the cases that failed with neither; and how many records are failures, which are told."""
    usual = usual_method(bench.config.model)
    shipped = replace(preset(recipe.iters, usual), seed=recipe.seed, time_budget=recipe.time_budget)
    runs = list(zip(cases, bench.measure(recipe, cases), bench.measure(shipped, cases), strict=True))
    failed = [record for _, *pair in runs for record in pair if record.outcome is None]
    for record in failed:
        say(f"{record.input}: {record.error}")
    both = [(case, a, b) for case, a, b in runs if a.outcome and b.outcome]
    if not both:
        return None, len(failed)
    ours, theirs = means(a for _, a, _ in both), means(b for _, _, b in both)
    differences = np.array(_by_photo(both))
    outcome = HeldOut(
        len(differences),
        ours["gain_percent"],
        ours["seconds"],
        theirs["gain_percent"],
        theirs["seconds"],
        float(differences.mean()),
        paired_bootstrap(lambda chosen: float(differences[chosen].mean()), len(differences)),
    )
    return outcome, len(failed)


def _by_photo(runs: list[tuple[Case, Record, Record]]) -> list[float]:
    """Mean difference of gain of each photo: qualities of one photo are no independent samples."""
    found: dict[str, list[float]] = {}
    for case, a, b in runs:
        found.setdefault(case.photo.sha256, []).append(a.measured.gain_percent - b.measured.gain_percent)
    return [float(np.mean(values)) for values in found.values()]


def write(folder: Path, study: Study, verdicts: list[Verdict]) -> None:
    """trials.csv, summary.json and the recipes, each whole or not at all."""
    for verdict in verdicts:
        write_atomically(Path(verdict.file), as_yaml(verdict).encode())
    write_atomically(folder / "trials.csv", as_csv(study).encode("utf-8", "backslashreplace"))
    write_atomically(folder / "summary.json", as_json(study, verdicts).encode())


def as_yaml(verdict: Verdict) -> str:
    """The recipe, for `rdo-encode --config`: what differs from the defaults."""
    recipe, plain = verdict.recipe, RefineConfig()
    names = [f.name for f in fields(recipe) if f.name in ("iters", "method")]
    names += [
        f.name for f in fields(recipe) if f.name not in names and getattr(recipe, f.name) != getattr(plain, f.name)
    ]
    lines = [f"# {recipe.iters} steps: rdo-encode --config {verdict.file} photos/", f"# {_story(verdict)}"]
    return "\n".join([*lines, *(f"{name}: {getattr(recipe, name)}" for name in names)]) + "\n"


def _story(verdict: Verdict) -> str:
    text = f"trial {verdict.trial}: gain {verdict.gain_percent:.2f} % where it was tuned"
    if held := verdict.held_out:
        text += (
            f"; on {held.photos} other photos {held.gain_percent:.2f} %, the preset {held.preset_gain_percent:.2f} %"
        )
    return text


def as_csv(study: Study) -> str:
    """A line a trial; the gain of one that was pruned is an estimate."""
    text = io.StringIO()
    names = list(study.config.search)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "gain_percent", "seconds", "cases", *names, "error"])
    for t in study.trials():
        gain = t.values["gain_percent"] if t.values else None
        writer.writerow([t.number, t.state, gain, t.seconds, t.cases, *(t.params.get(n) for n in names), t.error])
    return text.getvalue()


def as_json(study: Study, verdicts: list[Verdict]) -> str:
    """One line: how the search went, and each verdict with its recipe."""
    best = [{**asdict(verdict), "recipe": to_mapping(verdict.recipe)} for verdict in verdicts]
    summary = {"study": study.study.study_name, "states": states(study.trials()), **study.setup, "best": best}
    return json.dumps(summary, allow_nan=False)


def states(trials: list[Trial]) -> dict[str, int]:
    """How many trials ended how."""
    return {state: sum(t.state == state for t in trials) for state in ("done", "pruned", "failed")}


def as_text(study: Study, verdicts: list[Verdict]) -> str:
    """The table that a study ends with."""
    counts = ", ".join(f"{count} {state}" for state, count in states(study.trials()).items())
    head = f"{'trial':>5} {'steps':>5} {'gain':>8} {'s':>7} {'held out':>9} {'preset':>8} {'difference':>24}  recipe"
    return "\n".join(
        [f"{study.study.study_name}: {counts}; preset: the shipped one of as many steps", head, *map(_row, verdicts)]
    )


def _row(verdict: Verdict) -> str:
    line = f"{verdict.trial:>5} {verdict.recipe.iters:>5} {verdict.gain_percent:>6.2f} % {verdict.seconds:>7.2f}"
    held = verdict.held_out
    if held is None:
        return f"{line} {'-':>9} {'-':>8} {'-':>24}  {verdict.file}"
    between = f" ({held.interval.low:+.2f} to {held.interval.high:+.2f})" if held.interval else ""
    difference = f"{held.difference_percent:+.2f}{between}"
    return f"{line} {held.gain_percent:>7.2f} % {held.preset_gain_percent:>6.2f} % {difference:>24}  {verdict.file}"
