"""Results of a study as files and text: recipes as YAML, trials as CSV, a summary as JSON and as a table."""

import csv
import io
import json
from dataclasses import asdict, fields
from pathlib import Path

from codec.files import write_atomically
from codec.settings import to_mapping
from jobs.tuning.held_out import BestTrial
from jobs.tuning.study import Study
from jobs.tuning.trial import count_states
from rdo.config import RefineConfig


def write_results(folder: Path, study: Study, best: list[BestTrial]) -> None:
    """Write trials.csv, summary.json and a YAML file for each best recipe, each whole or not at all."""
    for trial in best:
        write_atomically(Path(trial.file), as_yaml(trial).encode())
    write_atomically(folder / "trials.csv", as_csv(study).encode("utf-8", "backslashreplace"))
    write_atomically(folder / "summary.json", as_json(study, best).encode())


def as_yaml(best: BestTrial) -> str:
    """Write a recipe for `rdo-encode --config`: iters, method, and what differs from the defaults."""
    recipe, default = best.recipe, RefineConfig()
    names = [f.name for f in fields(recipe) if f.name in ("iters", "method")]
    names += [
        f.name for f in fields(recipe) if f.name not in names and getattr(recipe, f.name) != getattr(default, f.name)
    ]
    lines = [f"# {recipe.iters} steps: rdo-encode --config {best.file} photos/", f"# {_provenance(best)}"]
    return "\n".join([*lines, *(f"{name}: {getattr(recipe, name)}" for name in names)]) + "\n"


def as_csv(study: Study) -> str:
    """Write a line of CSV for each trial; the gain of a pruned trial is an estimate."""
    text = io.StringIO()
    names = list(study.config.search)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "gain_percent", "seconds", "cases", *names, "error"])
    for t in study.trials():
        params = [t.params.get(name) for name in names]
        writer.writerow([t.number, t.state, t.gain_percent, t.seconds, t.cases, *params, t.error])
    return text.getvalue()


def as_json(study: Study, best: list[BestTrial]) -> str:
    """Write the summary in one line: counts of trials, the study's setup, and the best trials with their recipes."""
    trials = [{**asdict(trial), "recipe": to_mapping(trial.recipe)} for trial in best]
    summary = {"study": study.name, "states": count_states(study.trials()), **study.setup, "best": trials}
    return json.dumps(summary, allow_nan=False)


def as_text(study: Study, best: list[BestTrial]) -> str:
    """Write the summary as a table for a terminal."""
    counts = ", ".join(f"{count} {state}" for state, count in count_states(study.trials()).items())
    head = f"{'trial':>5} {'steps':>5} {'gain':>8} {'s':>7} {'held out':>9} {'preset':>8} {'difference':>24}  recipe"
    title = f"{study.name}: {counts}; preset: the shipped one of as many steps"
    return "\n".join([title, head, *map(_row, best)])


def _provenance(best: BestTrial) -> str:
    text = f"trial {best.trial}: gain {best.gain_percent:.2f} % where it was tuned"
    if held := best.held_out:
        text += (
            f"; on {held.photos} other photos {held.gain_percent:.2f} %, the preset {held.preset_gain_percent:.2f} %"
        )
    return text


def _row(best: BestTrial) -> str:
    line = f"{best.trial:>5} {best.recipe.iters:>5} {best.gain_percent:>6.2f} % {best.seconds:>7.2f}"
    held = best.held_out
    if held is None:
        return f"{line} {'-':>9} {'-':>8} {'-':>24}  {best.file}"
    interval = f" ({held.interval.low:+.2f} to {held.interval.high:+.2f})" if held.interval else ""
    difference = f"{held.difference_percent:+.2f}{interval}"
    return f"{line} {held.gain_percent:>7.2f} % {held.preset_gain_percent:>6.2f} % {difference:>24}  {best.file}"
