"""Efforts: the presets that are shipped, and the recipe for any number of steps."""

from dataclasses import replace

import pytest

from codec.errors import ConfigError
from rdo import RefineConfig, effort, recipe
from rdo.presets import DEFAULT_EFFORT, EFFORTS


def test_efforts_take_more_and_more_steps() -> None:
    steps = [effort(level).iters for level in EFFORTS]
    assert steps == sorted(set(steps)) and steps[0] > 0
    assert effort(DEFAULT_EFFORT) == RefineConfig()


@pytest.mark.parametrize("level", EFFORTS)
def test_a_recipe_for_the_steps_of_an_effort_is_that_effort(level: int) -> None:
    assert recipe(effort(level).iters) == effort(level)


def test_a_recipe_between_two_efforts_takes_the_schedules_of_the_nearer() -> None:
    low, high = effort(4), effort(5)
    middle = (low.iters * high.iters) ** 0.5
    for between, nearer in ((int(middle), low), (int(middle) + 1, high)):
        assert recipe(between) == replace(nearer, iters=between)
    assert recipe(10**6) == replace(effort(EFFORTS[-1]), iters=10**6)


def test_a_descent_has_the_defaults() -> None:
    assert recipe(10**6, "rdoq") == replace(effort(9), iters=10**6)
    assert recipe(5, "linear") == RefineConfig(iters=5, method="linear")
    assert recipe(500, "sga") == RefineConfig(iters=500, method="sga")


def test_few_steps_and_none() -> None:
    assert recipe(1) == replace(effort(1), iters=1)
    assert recipe(0).iters == 0


@pytest.mark.parametrize("level", [0, 10, -1])
def test_no_such_effort(level: int) -> None:
    with pytest.raises(ConfigError, match=f"effort {level}: .*1 to 9"):
        effort(level)
