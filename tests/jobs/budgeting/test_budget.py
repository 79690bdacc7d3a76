"""Budgets as flags give them: sizes, and what does not go together."""

import pytest

from codec.errors import ConfigError
from jobs.budgeting.budget import Budget, BudgetFlags, budget_of, size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50MB", 50_000_000), ("50mb", 50_000_000), ("1.5 GB", 1_500_000_000), ("48MiB", 48 * 2**20),
        ("200000", 200_000),
        ("200_000", 200_000), ("7kb", 7000), (".5kib", 512), ("12B", 12), ("3.", 3),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-5MB", "50 MBit", "0", "0.5", "1e400", "nan", "inf", "5 0MB", "\u0665MB", "9" * 400]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write a size such as 50MB"):
        size_of(text)


def test_a_limit_in_bytes_or_in_bits_per_pixel() -> None:
    assert budget_of(BudgetFlags()) is None
    total = budget_of(BudgetFlags("1kB", None, 60.0))
    assert total == Budget(1000, None, 60.0) and total.limit(10**9) == 1000
    bpp = budget_of(BudgetFlags(None, 0.5))
    assert bpp is not None and bpp.limit(1600) == 100


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (BudgetFlags("1kB", 0.5), "give one of them"),
        (BudgetFlags(None, None, 60.0), "the floor of a budget: add --target-total"),
        (BudgetFlags("1kB", None, 100.0), "must be below 100"),
        (BudgetFlags("1kB", None, float("nan")), "must be below 100"),
        (BudgetFlags(None, 0.0), "must be positive and finite"),
        (BudgetFlags(None, float("inf")), "must be positive and finite"),
    ],
)
def test_what_makes_no_sense_is_refused(flags: BudgetFlags, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        budget_of(flags)
