"""Planning of a budget of time, on pictures whose gains and seconds are made up: in time, and better than evenly."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from codec.errors import ConfigError
from jobs.budgeting.decision import Decision
from jobs.budgeting.effort import FIXED, LAST_ROUND, Looks, Timed, fixed_steps, next_decision, spent_by_now
from jobs.budgeting.time_budget import TimeBudget, seconds_of
from jobs.record import SCHEMA, Outcome, Record, Score
from jobs.running.refine_settings import RefineFlags
from rdo.step_allocation import gained

HALF, REST, STEP_S = 10.0, 5.0, 1e-6  # steps; steps; seconds a step and pixel
PIXELS = {f"{index}.png": (1 + index % 3) * 100_000 for index in range(24)}
LIMIT = {name: 0.05 * 1.15**index for index, name in enumerate(PIXELS)}  # of the gain, in bits a pixel
COST = {name: 20 * limit for name, limit in LIMIT.items()}  # bits a pixel
LOOK_PIXELS = 10_000

Speed = Callable[[str, int], float]


def record(name: str, steps: int, speed: float = 1.0) -> Record:
    """Return the record that encoding a made-up picture gives."""
    pixels, cost = PIXELS[name], COST[name]
    scores = [Score(1, 1.0, None, None, None, each) for each in (cost, cost - LIMIT[name] * gained(steps, HALF))]
    outcome = Outcome("", pixels, 1, *scores, 0.0, verified=True, iters=steps)
    seconds = speed * pixels * STEP_S * (REST + steps)
    return Record(SCHEMA, "done", name, name, seconds=seconds, iters_asked=steps, outcome=outcome)


def look(name: str, steps: int) -> Timed:
    gain = LIMIT[name] * gained(steps, HALF)
    return Timed(
        steps, LOOK_PIXELS * STEP_S * (REST + steps), LOOK_PIXELS, LOOK_PIXELS * COST[name], LOOK_PIXELS * gain
    )


def looks(names: Mapping[str, int] = PIXELS) -> Looks:
    return Looks(PIXELS, {name: [look(name, 2)] + [look(name, 8)] * (i < 3) for i, name in enumerate(names)}, HALF)


def simulated(
    seconds: float,
    *,
    seen: Looks | None = None,
    workers: int = 1,
    speed: Speed = lambda name, number: 1.0,
    broken: tuple[str, ...] = (),
) -> tuple[float, dict[str, Record]]:
    """Carry out all groups of a budget; return the seconds of all workers, and the records."""
    seen, files = seen or looks(), dict[str, Record]()
    decision = Decision("", 0, None, {}, seconds=seconds, workers=workers)
    while found := next_decision(seen, decision, files):
        new = found.plans.keys() - decision.plans.keys()
        assert new and all(found.plans[name] == plan for name, plan in decision.plans.items())
        decision = found
        for name in sorted(new - set(broken)):
            files[name] = record(name, found.plans[name].iters or 0, speed(name, decision.round))
    assert decision.round <= LAST_ROUND
    return seen.seconds + spent_by_now(decision, files), files


def steps_of(files: Mapping[str, Record]) -> dict[str, int]:
    return {name: record.iters_asked or 0 for name, record in files.items()}


def gain(steps: Mapping[str, float]) -> float:
    return sum(PIXELS[name] * LIMIT[name] * gained(count, HALF) for name, count in steps.items())


def seconds_at(mean_steps: float) -> float:
    return STEP_S * sum(PIXELS.values()) * (REST + mean_steps)


@pytest.mark.parametrize(("mean_steps", "better"), [(12, 1.06), (40, 1.025), (150, 1.005)])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_time_is_kept_and_gains_more_than_spread_evenly(mean_steps: int, better: float, workers: int) -> None:
    seconds = seconds_at(mean_steps)
    spent, files = simulated(seconds / workers, workers=workers)
    assert 0.93 * seconds < spent <= 1.001 * seconds and files.keys() == PIXELS.keys()
    assert gain(steps_of(files)) > better * gain(dict.fromkeys(PIXELS, mean_steps))
    assert steps_of(files)["23.png"] > 2 * steps_of(files)["0.png"]


@pytest.mark.parametrize("factor", [0.4, 0.8, 1.5, 3.0])
def test_time_that_looks_told_wrong_is_made_up_for_in_the_groups_that_follow(factor: float) -> None:
    spent, files = simulated(seconds_at(60), speed=lambda name, number: factor)
    assert 0.85 * seconds_at(60) < spent < (1.1 if factor < 2 else 1.35) * seconds_at(60)
    assert sorted(steps_of(files).values())[0 if factor < 2 else 12] > 0


def test_what_nobody_looked_at_is_taken_for_alike() -> None:
    few = dict(list(PIXELS.items())[:3])
    for seen in (looks(few), looks({})):
        spent, files = simulated(seconds_at(30), seen=seen)
        others = [count for name, count in steps_of(files).items() if name not in few]
        assert max(others) - min(others) <= 3 and 0.85 * seconds_at(30) < spent < 1.1 * seconds_at(30)


def test_a_budget_too_small_is_plain_encoding() -> None:
    for seconds in (1e-9, looks().seconds, seconds_at(-1)):
        assert set(steps_of(simulated(seconds)[1]).values()) == {0}


def test_a_picture_that_fails_takes_none_of_the_time() -> None:
    spent, files = simulated(seconds_at(60), broken=("1.png", "23.png", "7.png"))
    assert len(files) == 21 and 0.9 * seconds_at(60) < spent <= 1.001 * seconds_at(60)
    assert simulated(seconds_at(60), broken=tuple(PIXELS))[1] == {}


@pytest.mark.parametrize("odd", [-1.0, 0.0, -1e9, 1e9])
def test_clocks_that_run_backwards_stand_still_or_leap_do_not_break_it(odd: float) -> None:
    spent, files = simulated(seconds_at(60), speed=lambda name, number: odd if "2" in name else 1.0)
    assert files.keys() == PIXELS.keys() and spent > 0
    assert max(steps_of(files).values()) > 0
    backwards = {name: [timed._replace(seconds=1e-6) for timed in found] for name, found in looks().found.items()}
    assert simulated(seconds_at(60), seen=Looks(PIXELS, backwards, HALF))[1].keys() == PIXELS.keys()


def test_where_no_look_gained_anything_steps_go_by_cost() -> None:
    nothing = {name: [timed._replace(gain=0.0) for timed in found] for name, found in looks().found.items()}
    _, files = simulated(seconds_at(60), seen=Looks(PIXELS, nothing, HALF))
    assert min(steps_of(files).values()) > 10 and steps_of(files)["23.png"] > steps_of(files)["0.png"]


def test_files_of_an_earlier_run_take_nothing_of_the_time() -> None:
    first = next_decision(looks(), Decision("", 0, None, {}, seconds=seconds_at(60)), {})
    assert first and first.round == 1
    files = {name: record(name, plan.iters or 0) for name, plan in first.plans.items()}
    longer = {name: replace(found, seconds=1e6, iters_asked=999) for name, found in files.items()}
    assert spent_by_now(first, files) > 0 and spent_by_now(first, longer) == 0


def test_the_cost_of_an_encoding_besides_its_steps_is_measured() -> None:
    assert fixed_steps([look("1.png", 2), look("2.png", 8)]) == pytest.approx(REST)
    assert fixed_steps([look("1.png", 2)]) == fixed_steps([]) == FIXED
    assert fixed_steps([look("1.png", 2)._replace(seconds=9.0), look("2.png", 8)]) == FIXED, "noise"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1h30m", 5400), ("45m", 2700), ("90s", 90), ("90", 90), ("1.5H", 5400), (" 2m 5s ", 125)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3", "2 parsecs", "h", "1m2h", "inf", "1e400", "nan", "9" * 400])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="write a time such as 2h, 1h30m, 45m or 90s"):
        seconds_of(text)


def test_steps_are_settled_by_the_budget_and_all_else_by_flags() -> None:
    budget = TimeBudget(60, RefineFlags(seed=7, patience=3), "small")
    assert (budget.refine(30).iters, budget.refine(30).seed, budget.refine(30).patience) == (30, 7, 3)
    assert budget.half_steps < TimeBudget(60, RefineFlags(), "small", "visual").half_steps
    for flags in (RefineFlags(iters=3), RefineFlags(effort=3), RefineFlags(time_budget=3.0)):
        with pytest.raises(ConfigError, match="and --time-budget-total: the budget settles the steps"):
            TimeBudget(60, flags, "small")
