"""Rounds of a budget, played against a simulated encoder: the total fits, with few pictures encoded twice."""

import math
import random
from collections.abc import Mapping

import pytest

from codec.errors import ConfigError
from jobs.budgeting.decision import Plan
from jobs.budgeting.measuring import Picture
from jobs.budgeting.planning import Share, below_floor, next_plans, total_bytes
from jobs.running.worklist import Item
from rdo.allocation import Measured, interpolated, point_at


def pictures(count: int, seed: int = 0) -> list[Picture]:
    """Pictures of many sizes and kinds."""
    rng, found = random.Random(seed), []
    for index in range(count):
        size, distortion = math.exp(rng.gauss(7, 0.7)), math.exp(rng.gauss(16, 0.7))
        points = [Measured(q, size * 1.27**q, distortion * 0.77**q, 9.0 * q + rng.gauss(0, 5)) for q in (1, 3, 5.5, 8)]
        found.append(Picture(Item(f"{index}.png", f"{index}.rdo", 1), f"{index:x}", 1, tuple(points)))
    return found


class Encoder:
    """Stand-in for refinement: bytes change by `factor`, with noise; targets are met from below, if they can be."""

    def __init__(self, share: Share, factor: float, noise: float, unreachable: str = "") -> None:
        self.share, self.factor, self.noise, self.unreachable = share, factor, noise, unreachable
        self.measured = {picture.item.input: picture.measured for picture in share.pictures}
        self.encoded: list[str] = []
        self.written: dict[str, Measured] = {}

    def encode(self, name: str, plan: Plan) -> Plan:
        """Write a file by its plan; return the plan, settled where its target cannot be met."""
        self.encoded.append(name)
        rng = random.Random(f"{name} {plan}")
        if name == self.unreachable and name in self.written:
            return Plan(plan.quality, settled=True)
        points = [
            m._replace(bytes=m.bytes * self.factor * math.exp(random.Random(name).gauss(0, self.noise)))
            for m in self.measured[name]
        ]
        if plan.target_bytes is not None:
            aimed = plan.target_bytes * rng.uniform(plan.target_fill, 1)
            nearest = min(interpolated(points), key=lambda point: abs(point.bytes - aimed))
            self.written[name] = nearest._replace(bytes=math.floor(aimed))
        elif plan.target_ssimulacra2 is not None:
            aimed = plan.target_ssimulacra2 + rng.uniform(-0.5, 0.5)
            self.written[name] = min(interpolated(points), key=lambda point: abs(point.score - aimed))
        else:
            self.written[name] = point_at(points, plan.quality)
        return plan

    def run(self, rounds_max: int = 7) -> int:
        """Play all rounds; return their number."""
        plans: Mapping[str, Plan] = {}
        for number in range(rounds_max):
            new = next_plans(self.share, plans, self.written)
            if new is None:
                return number
            plans = {n: self.encode(n, p) if plans.get(n) != p else p for n, p in new.items()}
        return rounds_max


def share_of(count: int, fraction: float, floor: float | None = None) -> Share:
    """A budget at a fraction between the least and the most bytes."""
    found = pictures(count)
    least, most = (sum(picture.measured[end].bytes for picture in found) for end in (0, -1))
    return Share(found, round(least + fraction * (most - least)), floor, False, lambda slope: 8 / slope)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40, 200])
@pytest.mark.parametrize("factor", [0.9, 1.0, 1.25])
def test_the_total_fits_whatever_refinement_changes(count: int, factor: float) -> None:
    share = share_of(count, 0.3)
    encoder = Encoder(share, factor, 0.04)
    rounds = encoder.run()
    words = 8 * count  # what files may miss a size by
    assert 0.995 * share.limit_bytes - words <= total_bytes(encoder.written) <= share.limit_bytes
    assert set(encoder.written) == {picture.item.input for picture in share.pictures} and rounds <= 5


def test_few_pictures_are_encoded_twice() -> None:
    encoder = Encoder(share_of(200, 0.3), 1.1, 0.04)
    encoder.run()
    assert len(encoder.encoded) <= 1.35 * 200


def test_a_target_that_cannot_be_met_is_made_up_for_by_others() -> None:
    share = share_of(7, 0.3)
    free = Encoder(share, 1.2, 0.04)
    free.run()
    for name in free.written:
        encoder = Encoder(share, 1.2, 0.04, unreachable=name)
        encoder.run()
        assert 0.99 * share.limit_bytes <= total_bytes(encoder.written) <= share.limit_bytes


def test_no_file_ends_below_the_floor() -> None:
    share = share_of(40, 0.3, floor=35.0)
    free = Encoder(share._replace(floor=None), 0.95, 0.03)
    free.run()
    assert len(below_floor(share, free.written)) > 5
    encoder = Encoder(share, 0.95, 0.03)
    encoder.run()
    assert not below_floor(share, encoder.written)
    assert 0.99 * share.limit_bytes <= total_bytes(encoder.written) <= share.limit_bytes


def test_a_budget_above_the_highest_quality_ends_there() -> None:
    share = share_of(7, 1.5)
    encoder = Encoder(share, 1.0, 0.02)
    assert encoder.run() == 2 and len(encoder.encoded) == 7
    assert {file.quality for file in encoder.written.values()} == {8}


def test_a_budget_too_small_is_refused_before_anything_is_refined() -> None:
    share = share_of(7, 0.0)
    with pytest.raises(ConfigError, match="is too small: the least is"):
        next_plans(share._replace(limit_bytes=share.limit_bytes // 2), {}, {})
    with pytest.raises(ConfigError, match="is too small: the least is"):
        next_plans(share_of(7, 0.02, floor=60), {}, {})


def test_the_least_budget_is_met_although_refinement_needs_more() -> None:
    share = share_of(7, 0.001)
    encoder = Encoder(share, 1.2, 0.02)
    encoder.run()
    assert total_bytes(encoder.written) <= share.limit_bytes


def test_all_have_the_slope_of_the_plan() -> None:
    share = share_of(40, 0.3)
    plans = next_plans(share, {}, {})
    assert plans is not None and len({plan.lmbda for plan in plans.values()}) == 1
    assert len({plan.quality for plan in plans.values()}) == len(plans) == 5


@pytest.mark.parametrize("excess", [1, 4, 8, 100])
def test_a_total_above_by_a_word_is_mended(excess: int) -> None:
    share = share_of(7, 0.3)
    encoder = Encoder(share, 1.0, 0.02)
    encoder.run()
    plans = {name: Plan(file.quality) for name, file in encoder.written.items()}
    tighter = share._replace(limit_bytes=total_bytes(encoder.written) - excess)
    new = next_plans(tighter, plans, encoder.written)
    assert new is not None
    targets = {name: plan.target_bytes for name, plan in new.items() if plan.target_bytes is not None}
    after = sum(targets.get(name, file.bytes) for name, file in encoder.written.items())
    assert targets and after <= tighter.limit_bytes
