"""Schedules: their ends, their order, and that nothing but t matters."""

import numpy as np
import pytest

from rdo.schedules import StepCounter, cosine, geometric, quadratic

T = np.linspace(0, 1, 101)


@pytest.mark.parametrize("schedule", [geometric, cosine])
@pytest.mark.parametrize(("start", "end"), [(0.5, 0.04), (2e-2, 2e-3), (0.04, 0.5), (0.3, 0.3)])
def test_ends_and_order(schedule, start: float, end: float) -> None:
    values = [schedule(start, end, t) for t in T]
    assert values[0] == pytest.approx(start) and values[-1] == pytest.approx(end)
    steps = np.diff(values) * (1 if end >= start else -1)
    assert (steps >= -1e-12).all()


def test_geometric_has_one_ratio() -> None:
    values = np.array([geometric(0.5, 0.04, t) for t in T])
    assert np.allclose(values[1:] / values[:-1], (0.04 / 0.5) ** 0.01)


def test_cosine_is_flat_at_both_ends_and_halfway_in_the_middle() -> None:
    values = np.array([cosine(1.0, 0.1, t) for t in T])
    slopes = -np.diff(values)
    assert slopes[0] < 0.02 * slopes.max() and slopes[-1] < 0.02 * slopes.max()
    assert values[50] == pytest.approx(0.55)


def test_quadratic_falls_to_an_exact_zero_and_stays() -> None:
    assert [quadratic(2.0, t) for t in (0, 0.5, 1, 1.1)] == [2.0, 0.5, 0.0, 0.0]


def test_a_counter_numbers_the_steps_of_runs_in_a_row() -> None:
    told: list[int] = []
    counter = StepCounter(told.append)
    for steps in (2, 0, 3):
        progress = counter.next_run()
        for step in range(steps):
            progress(step + 1)
    assert told == [1, 2, 3, 4, 5] and counter.total == 5
