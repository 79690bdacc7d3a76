"""Setup of a study: everything that the values of its trials depend on, stored with it and compared when it resumes."""

import hashlib
from collections.abc import Mapping
from itertools import zip_longest
from typing import NamedTuple, TypeVar

from codec.settings import to_stored_mapping
from jobs.tuning.evaluator import Case
from jobs.tuning.space import StudyConfig
from rdo.config import RefineConfig

NOT_OF_VALUES = ("trials", "holdout", "sampler")  # settings that the value of a trial does not depend on
T = TypeVar("T")


class Difference(NamedTuple):
    """First entry in which two setups differ: its dotted key and both values."""

    key: str
    old: object
    new: object


def study_setup(
    config: StudyConfig, *, model_id: str, cases: list[Case], device: str, threads: int, batch: int
) -> dict[str, object]:
    """Return a study's setup as a mapping of plain JSON values.

    Args:
        config: the study; its numbers of trials and held-out photos, and its sampler, may change when it resumes.
        model_id: identity of the model's weights, hexadecimal.
        cases: photos and qualities to tune on.
        device: device of the workers.
        threads: torch threads of each worker.
        batch: pictures that a worker refines together.
    """
    photos = sorted({case.photo.sha256 for case in cases})
    digest = hashlib.sha256("".join(photos).encode()).hexdigest()[:8]
    mapping = {key: value for key, value in to_stored_mapping(config).items() if key not in NOT_OF_VALUES}
    machine = {"device": device, "threads": threads, "batch": batch}
    return {**mapping, **machine, "model": model_id, "photos": f"{len(photos)} ({digest})"}


def current_names(stored: Mapping[str, T]) -> dict[str, T]:
    """Rename the keys of settings that an earlier release stored by older names to their fields of `RefineConfig`."""
    return {RefineConfig.RENAMED.get(name, name): value for name, value in stored.items()}


def with_current_names(setup: object) -> object:
    """Return a stored setup with its search dimensions under the present names of their settings."""
    search = setup.get("search") if isinstance(setup, dict) else None
    return {**setup, "search": current_names(search)} if isinstance(setup, dict) and isinstance(search, dict) else setup


def first_difference(old: object, new: object, key: str = "") -> Difference | None:
    """Find the first entry in which two nested mappings differ, None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            if found := first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else name):
                return found
        return None
    if isinstance(old, list) and isinstance(new, list):
        pair = next(((a, b) for a, b in zip_longest(old, new) if a != b), None)
        return pair and Difference(key, *pair)
    return None if old == new else Difference(key, old, new)
