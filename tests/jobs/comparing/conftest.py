"""Fixture of classical codecs that may be missing."""

from collections.abc import Callable

import pytest

from jobs.comparing.ladders import LADDERS, available


@pytest.fixture
def need_ladder() -> Callable[[str], None]:
    """Gives `need_ladder(name)`: skips the test where a ladder cannot be run, with the reason."""

    def need(name: str) -> None:
        found = available([LADDERS[name].codec])
        if name not in found.ladders:
            pytest.skip(next(note for note in found.notes if note.startswith((name, LADDERS[name].codec))))

    return need
