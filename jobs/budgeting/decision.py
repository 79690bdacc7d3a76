"""Decision of a budget: which settings each picture is encoded with, kept as a file in the output folder.

The invariant: the file is written whole, before any picture is encoded by it; a run that finds it goes on there. It is
a function of measurements and written files alone, not of the number of workers or the moment of a kill.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from codec import places
from codec.architecture import on_header_grid
from codec.errors import StorageError
from jobs.running.encode_settings import EncodeConfig

DECISION = "budget.json"  # in the output folder
SCHEMA = "rdo-budget-1"


@dataclass(frozen=True)
class Plan:
    """Settings of one picture's file.

    Attributes:
        quality, lmbda: those to encode with, lmbda None for what suits the quality; not used under a target, nor where
            time is shared out.
        target_bytes, target_fill, target_ssimulacra2: goal of a correction, of which one may be given.
        settled: whether the file that is there stays, as none nearer to the goal could be made.
        iters, round: of a budget of time, refinement steps, and the round that this plan was made in.
    """

    quality: float
    lmbda: float | None = None
    target_bytes: int | None = None
    target_fill: float = 0.99
    target_ssimulacra2: float | None = None
    settled: bool = False
    iters: int | None = None
    round: int = 0

    def config(self, base: EncodeConfig) -> EncodeConfig:
        """Return the settings of the picture, all else as in `base`."""
        if self.target_bytes is not None:
            return replace(base, target_bytes=self.target_bytes, target_fill=self.target_fill)
        if self.target_ssimulacra2 is not None:
            return replace(base, target_ssimulacra2=self.target_ssimulacra2)
        return replace(base, quality=on_header_grid(self.quality), lmbda=self.lmbda)


@dataclass(frozen=True)
class Decision:
    """Plans of a folder's pictures.

    Attributes:
        settings: hash of the settings that all pictures share.
        limit_bytes, floor: the budget of bytes; 0 and None where it is one of time.
        pictures: hashes of all pictures, by the names of their inputs.
        plans: of the pictures that are to be encoded by now, by the names of their inputs.
        round: number of times that plans were made.
        seconds: the budget of wall time; None where it is one of bytes.
        workers: that share it, those of the run that made the first plan.
        spent_s: seconds that workers took for the files of all rounds but the last.
    """

    settings: str
    limit_bytes: int
    floor: float | None
    pictures: Mapping[str, str]
    plans: Mapping[str, Plan] = field(default_factory=dict)
    round: int = 0
    seconds: float | None = None
    workers: int = 1
    spent_s: float = 0.0

    def same_task(self, other: "Decision") -> bool:
        """Tell whether two decisions are about the same pictures, settings and budget."""
        return (self.settings, self.limit_bytes, self.floor, self.seconds, self.pictures) == (
            other.settings, other.limit_bytes, other.floor, other.seconds, other.pictures
        )  # fmt: skip


def load(name: str) -> Decision | None:
    """Read a decision from a path or URL; None where there is none, or no readable one.

    Raises:
        StorageError: a store does not tell whether there is one.
    """
    try:
        return _parsed(json.loads(places.read(name)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    except StorageError as error:
        if error.is_missing:
            return None
        raise


def resumed(name: str, new: Decision) -> Decision:
    """Return the decision that is there, if it is about the same, else the new one."""
    before = load(name)
    return before if before and before.same_task(new) else new


def save(name: str, decision: Decision) -> None:
    """Write a decision, whole or not at all."""
    text = json.dumps({"schema": SCHEMA, **asdict(decision)}, indent=1)
    places.write(name, text.encode())


def _parsed(found: dict[str, Any]) -> Decision:
    if found.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    plans = {name: Plan(**plan) for name, plan in found.pop("plans").items()}
    return Decision(**found, plans=plans)
