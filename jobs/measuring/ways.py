"""Ways to refine that a benchmark compares: methods, numbers of steps and values of one varied setting."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from codec.errors import ConfigError
from codec.settings import override
from jobs.running.refine_settings import RefineFlags, refine_config
from rdo.config import RefineConfig


class Way(NamedTuple):
    """Named refinement to measure; name and number of steps together are unique."""

    name: str
    refine: RefineConfig


def parse_ways(
    *, methods: list[str], iters: list[int], vary: str | None, flags: RefineFlags, model: str
) -> tuple[Way, ...]:
    """Return a way for each method, number of steps and value of the varied setting.

    Args:
        methods: names of methods, or YAML files.
        iters: numbers of steps.
        vary: KEY=VALUE,VALUE, or None to vary nothing.
        flags: settings of all ways.
        model: name of the model, which decides a default method.

    Raises:
        ConfigError: an unknown method, setting or value, no steps, or two ways of one name and number of steps.
    """
    if vary and "=" not in vary:
        raise ConfigError(f"--vary {vary}: write KEY=VALUE,VALUE")
    key, _, values = (vary or "").partition("=")
    ways = []
    for method, count in itertools.product(methods, iters):
        path = Path(method) if method.endswith((".yaml", ".yml")) else None
        name = path.stem if path else method
        base = refine_config(replace(flags, config=path, iters=count, method=None if path else method), model)
        varied = [Way(f"{name}-{key}{value}", override(base, {key: value})) for value in values.split(",") if value]
        ways += varied or [Way(name, base)]
    for (name, count), uses in Counter((way.name, way.refine.iters) for way in ways).items():
        if not count:
            raise ConfigError(f"{name}: 0 steps refine nothing: give 1 or more")
        if uses > 1:
            raise ConfigError(f"{uses} ways are called {name} with {count} steps: leave one out, or rename its file")
    return tuple(ways)
