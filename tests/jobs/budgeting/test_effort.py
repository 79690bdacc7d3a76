"""Planning of a budget of time, on pictures whose gains and seconds are made up: within the time, and better than even."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from codec.errors import ConfigError
from jobs.budgeting.decision import Decision, Plan
from jobs.budgeting.effort import CALIBRATION, LOOK, Shared, next_decision, spent_by_now
from jobs.budgeting.time_budget import TimeBudget, seconds_of
from jobs.record import SCHEMA, Outcome, Record, Score
from jobs.running.refine_settings import RefineFlags
from rdo.step_allocation import gained

HALF, FIXED, STEP_S = 10.0, 5.0, 1e-6  # seconds a step and pixel
PIXELS = {f"{index}.png": (1 + index % 3) * 100_000 for index in range(24)}
LIMIT = {name: 0.01 * 1.25**index for index, name in enumerate(PIXELS)}  # of the gain, in bits a pixel
COST = dict.fromkeys(PIXELS, 3.0)  # bits a pixel

Speed = Callable[[str, int], float]


def record(name: str, steps: int, speed: float = 1.0) -> Record:
    """Return the record that encoding a made-up picture gives."""
    pixels, cost = PIXELS[name], COST[name]
    scores = [Score(1, 1.0, None, None, None, each) for each in (cost, cost - LIMIT[name] * gained(steps, HALF))]
    outcome = Outcome("", pixels, 1, *scores, 0.0, verified=True, iters=steps)
    return Record(
        SCHEMA, "done", name, name, seconds=speed * pixels * STEP_S * (FIXED + steps), iters_asked=steps, outcome=outcome
    )  # fmt: skip


def simulated(
    seconds: float, *, workers: int = 1, speed: Speed = lambda name, number: 1.0, broken: tuple[str, ...] = ()
) -> tuple[Decision, dict[str, Record]]:
    """Carry out all rounds of a budget."""
    shared, files = Shared(PIXELS, HALF), dict[str, Record]()
    decision, rounds = Decision("", 0, None, {}, seconds=seconds, workers=workers), 0
    while found := next_decision(shared, decision, files):
        changed = {n: p for n, p in found.plans.items() if decision.plans.get(n) != p and not p.settled}
        decision, rounds = found, rounds + 1
        for name, plan in changed.items():
            if name not in broken:
                files[name] = record(name, plan.iters or 0, speed(name, decision.round))
    assert rounds <= 7
    return decision, files


def gain(steps: Mapping[str, float]) -> float:
    return sum(PIXELS[name] * LIMIT[name] * gained(count, HALF) for name, count in steps.items())


def even_gain(seconds: float) -> float:
    """Return the gain of as many steps for all as take these seconds."""
    count = seconds / (STEP_S * sum(PIXELS.values())) - FIXED
    return gain(dict.fromkeys(PIXELS, count))


def steps_of(files: Mapping[str, Record]) -> dict[str, int]:
    return {name: record.iters_asked or 0 for name, record in files.items()}


@pytest.mark.parametrize("mean_steps", [12, 40, 150])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_time_is_kept_and_gains_more_than_spread_evenly(mean_steps: int, workers: int) -> None:
    seconds = STEP_S * sum(PIXELS.values()) * (FIXED + mean_steps)
    decision, files = simulated(seconds / workers, workers=workers)
    assert 0.93 * seconds < spent_by_now(decision, files) <= 1.001 * seconds
    assert gain(steps_of(files)) > (1.03 if mean_steps < 100 else 1.01) * even_gain(seconds)
    assert files.keys() == PIXELS.keys() and steps_of(files)["23.png"] > 2 * steps_of(files)["3.png"]


def test_time_that_was_guessed_wrong_is_made_up_for_in_the_groups_that_follow() -> None:
    seconds = STEP_S * sum(PIXELS.values()) * 60
    for speed in (0.6, 1.5):  # of all encodings after the looks
        decision, files = simulated(seconds, speed=lambda name, number, speed=speed: speed if number > 2 else 1.0)
        assert 0.8 * seconds < spent_by_now(decision, files) < 1.15 * seconds


def test_a_look_at_all_is_left_out_where_it_takes_too_much_of_the_time() -> None:
    _, files = simulated(STEP_S * sum(PIXELS.values()) * (FIXED + 9))
    assert set(steps_of(files).values()).isdisjoint({LOOK})
    others = [count for count in steps_of(files).values() if count != CALIBRATION]
    assert max(others) - min(others) <= 4 and min(others) >= 3, "what nobody has looked at is taken for alike"


def test_a_budget_too_small_is_plain_encoding() -> None:
    decision, files = simulated(1e-3)
    assert sorted(set(steps_of(files).values())) == [0, CALIBRATION]
    assert sum(plan.iters == 0 for plan in decision.plans.values()) == 21


def test_a_picture_that_fails_takes_none_of_the_time() -> None:
    seconds = STEP_S * sum(PIXELS.values()) * 60
    decision, files = simulated(seconds, broken=("1.png", "23.png", "7.png"))
    assert len(files) == 21 and 0.93 * seconds < spent_by_now(decision, files) <= 1.001 * seconds
    assert simulated(seconds, broken=tuple(PIXELS))[1] == {}


def test_clocks_that_run_backwards_or_stand_still_do_not_break_it() -> None:
    seconds = STEP_S * sum(PIXELS.values()) * 60
    for odd in (-1.0, 0.0, -1e9, 1e9):
        decision, files = simulated(
            seconds, speed=lambda name, number, odd=odd: odd if number > 2 or "2" in name else 1.0
        )
        assert files.keys() == PIXELS.keys() and decision.spent_s >= 0


def test_nothing_gained_at_first_is_shared_out_by_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PIXELS:
        monkeypatch.setitem(LIMIT, name, 0.0)
    _, files = simulated(STEP_S * sum(PIXELS.values()) * 60)
    assert min(steps_of(files).values()) > 20


def test_a_plan_follows_from_records_alone() -> None:
    shared, seconds = Shared(PIXELS, HALF), STEP_S * sum(PIXELS.values()) * 60
    first = next_decision(shared, Decision("", 0, None, {}, seconds=seconds), {})
    assert first and {plan.iters for plan in first.plans.values()} == {CALIBRATION} and len(first.plans) == 3
    files = {name: record(name, CALIBRATION) for name in first.plans}
    second = next_decision(shared, first, files)
    assert second == next_decision(shared, first, dict(reversed(files.items()))) and len(second.plans) == 24
    longer = {name: replace(found, seconds=1e6, iters_asked=99) for name, found in files.items()}
    kept = next_decision(shared, first, longer)
    assert kept and kept.spent_s == 0, "files of an earlier run, with more steps, have taken nothing of this budget"
    assert Plan(1.0) == Plan(1.0, iters=None, round=0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1h30m", 5400), ("45m", 2700), ("90s", 90), ("90", 90), ("1.5H", 5400), (" 2m 5s ", 125)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3", "2 parsecs", "h", "1m2h", "inf", "1e400", "nan"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="--time-budget-total .*: write a time such as 2h"):
        seconds_of(text)


def test_steps_are_settled_by_the_budget_and_all_else_by_flags() -> None:
    budget = TimeBudget(60, RefineFlags(seed=7, patience=3), "small")
    assert (budget.refine(30).iters, budget.refine(30).seed, budget.refine(30).patience) == (30, 7, 3)
    assert budget.half_steps < TimeBudget(60, RefineFlags(), "small", "visual").half_steps
    for flags in (RefineFlags(iters=3), RefineFlags(effort=3), RefineFlags(time_budget=3.0)):
        with pytest.raises(ConfigError, match="and --time-budget-total: the budget settles the steps"):
            TimeBudget(60, flags, "small")
