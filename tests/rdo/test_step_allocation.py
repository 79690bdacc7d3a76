"""Steps are shared out where they gain most a second, and their seconds stay within the budget."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdo.step_allocation import STEPS_MAX, Prospect, allocate_steps, gained, seconds_of

PROSPECTS = st.lists(st.builds(Prospect, st.floats(0, 1e6), st.floats(1e-3, 1e2)), min_size=1, max_size=12)


@given(PROSPECTS, st.floats(-10, 1e5), st.floats(0.5, 40), st.floats(0, 40))
def test_seconds_stay_within_the_budget(prospects: list[Prospect], seconds: float, half: float, fixed: float) -> None:
    steps = allocate_steps(prospects, seconds, half=half, fixed=fixed)
    assert seconds_of(prospects, steps, fixed) <= seconds or not any(steps)
    for prospect, count in zip(prospects, steps, strict=True):
        assert 0 <= count <= STEPS_MAX and (prospect.limit > 0 or count == 0)


def test_no_exchange_of_seconds_between_two_pictures_gains_more() -> None:
    prospects = [Prospect(limit, step_s) for limit, step_s in ((1, 1), (4, 1), (9, 1), (9, 4), (25, 0.5))]
    steps = allocate_steps(prospects, 400.0, half=5.0, fixed=2.0)
    assert 390 < seconds_of(prospects, steps, 2.0) <= 400
    rates = [
        (p.limit * (gained(n + 1, 5.0) - gained(n, 5.0))) / p.step_s for p, n in zip(prospects, steps, strict=True)
    ]
    assert max(rates) < 1.1 * min(rates)
    # four times the gain a second is twice the steps, but for the half
    assert steps[1] + 5 == pytest.approx(2 * (steps[0] + 5), abs=2)


def test_ends_of_the_scale() -> None:
    alike = [Prospect(1.0, 1.0), Prospect(1.0, 1.0)]
    assert allocate_steps(alike, 5.0, half=2.0, fixed=4.0) == [0, 0]
    assert allocate_steps(alike, 11.0, half=2.0, fixed=4.0) == [1, 1]
    assert allocate_steps(alike, math.inf, half=2.0, fixed=4.0) == [STEPS_MAX, STEPS_MAX]
    assert allocate_steps([Prospect(0.0, 1.0)], 100.0, half=2.0, fixed=4.0) == [0]
    assert allocate_steps([Prospect(0.0, 1.0), Prospect(1.0, 1.0)], 100.0, half=2.0, fixed=4.0) == [0, 92]
    assert allocate_steps([], 100.0, half=2.0, fixed=4.0) == []
