"""Evaluation of a study's best recipes against the shipped presets, on held-out photos.

The gain that a search measures for its own best recipe is biased upwards, as that recipe was chosen by it; the gain on
photos that no trial encoded is not.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jobs.cli import say
from jobs.record import Record
from jobs.tuning.evaluator import Case, Evaluator
from jobs.tuning.study import Study
from jobs.tuning.trial import means
from rdo.config import RefineConfig
from rdo.presets import recipe as preset
from rdo.presets import usual_method
from rdo.rd_curves import Interval, paired_bootstrap
from rdo.tune import presets_of


@dataclass(frozen=True)
class HeldOut:
    """Means of a recipe and of the preset of as many steps, on the same photos.

    `interval` is the 95 % bootstrap interval of `difference_percent`, the recipe's gain less the preset's.
    """

    photos: int
    gain_percent: float
    seconds: float
    preset_gain_percent: float
    preset_seconds: float
    difference_percent: float
    interval: Interval | None


class HeldOutRun(NamedTuple):
    """Comparison on held-out photos, None where none could be encoded, and the number of records that failed."""

    held_out: HeldOut | None
    failures: int


@dataclass(frozen=True)
class BestTrial:
    """Trial of the Pareto front, the file of its recipe, and its comparison on held-out photos, if there are any.

    `failures` counts the held-out pictures that could not be encoded with the recipe or the preset; `held_out` leaves
    them out.
    """

    trial: int
    gain_percent: float
    seconds: float
    recipe: RefineConfig
    file: str
    held_out: HeldOut | None
    failures: int = 0


def evaluate_best(study: Study, evaluator: Evaluator, held_out: list[Case], folder: Path) -> list[BestTrial]:
    """Evaluate the trial of most gain, or each trial of the front, on held-out photos."""
    found = []
    for trial in study.best():
        assert trial.gain_percent is not None and trial.seconds is not None
        recipe = study.config.recipe(trial.params)
        name = "best.yaml" if len(study.config.objectives) == 1 else f"trial-{trial.number}.yaml"
        run = compare_with_preset(evaluator, recipe, held_out)
        found.append(
            BestTrial(
                trial=trial.number,
                gain_percent=trial.gain_percent,
                seconds=trial.seconds,
                recipe=recipe,
                file=str(folder / name),
                held_out=run.held_out,
                failures=run.failures,
            )
        )
    return found


def compare_with_preset(evaluator: Evaluator, recipe: RefineConfig, cases: list[Case]) -> HeldOutRun:
    """Compare a recipe with the preset of as many steps over the cases that fail with neither; print failures."""
    settings = evaluator.config
    presets = presets_of(settings.tune, evaluator.codec.distortion)
    usual_preset = preset(recipe.iters, usual_method(settings.model), presets)
    shipped = replace(usual_preset, seed=recipe.seed, time_budget=recipe.time_budget)
    runs = list(zip(cases, evaluator.evaluate(recipe, cases), evaluator.evaluate(shipped, cases), strict=True))
    failed = [record for _, *pair in runs for record in pair if record.outcome is None]
    for record in failed:
        say(f"{record.input}: {record.error}")
    both = [(case, a, b) for case, a, b in runs if a.outcome and b.outcome]
    if not both:
        return HeldOutRun(None, len(failed))
    tuned, usual = means(a for _, a, _ in both), means(b for _, _, b in both)
    differences = np.array(_differences_by_photo(both))
    held_out = HeldOut(
        photos=len(differences),
        gain_percent=tuned.gain_percent,
        seconds=tuned.seconds,
        preset_gain_percent=usual.gain_percent,
        preset_seconds=usual.seconds,
        difference_percent=float(differences.mean()),
        interval=paired_bootstrap(lambda chosen: float(differences[chosen].mean()), len(differences)),
    )
    return HeldOutRun(held_out, len(failed))


def _differences_by_photo(runs: list[tuple[Case, Record, Record]]) -> list[float]:
    """Average the difference of gain over each photo's qualities, which are no independent samples."""
    found: dict[str, list[float]] = {}
    for case, a, b in runs:
        found.setdefault(case.photo.sha256, []).append(a.measured.gain_percent - b.measured.gain_percent)
    return [float(np.mean(values)) for values in found.values()]
