"""Hashes that records hold: a folder finished under old names of settings is not encoded again."""

import pytest

from codec.settings import build, config_hash
from jobs.running.encode_settings import EncodeConfig


# As recorded before keys were renamed; renew only for a deliberate change: whoever resumes a folder encodes it again.
@pytest.mark.parametrize(
    ("settings", "stored"),
    [
        ({}, "5b6683b305cc1a6f"),
        ({"refine": {"iters": 7, "method": "sga"}}, "ec7143daa162b0db"),
        ({"quality": 2.5, "refine": {"iters": 100}}, "336d00f4fbc1d061"),
        ({"quality": 2.5, "refine": {"iters": 100, "heat": 2}}, "336d00f4fbc1d061"),
    ],
)
def test_stored_hashes_are_golden(settings: dict[str, object], stored: str) -> None:
    assert config_hash(build(EncodeConfig, settings)) == stored
