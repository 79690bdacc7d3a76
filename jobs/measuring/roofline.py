"""`rdo-bench roofline`: each stage's seconds against the least that its operations and bytes allow on this machine.

    floor = max(operations / fastest matrix product, bytes / fastest copy)

Both ceilings are measured in the same run, in the stage's own precision. Operations are those of
`codec.networks.complexity`, two for each multiply-accumulate. Bytes are what cannot be avoided: weights, inputs and
outputs once, and of the cached steps the weights and the kept keys and values at every step.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from jobs import cli

if TYPE_CHECKING:
    import torch

    from codec.architecture import ModelConfig
    from jobs.measuring.stages import Subject

MATRIX, COPY_BYTES = 2048, 1 << 28  # sides of the product; bytes copied, far more than caches hold
CACHED = "EGR + SFG + cache"
CODED = ("h_s", "context, in steps", "g_s")  # what a decoder runs besides its entropy coder


class Ceilings(NamedTuple):
    """In a second: operations of a matrix product, in single and double precision; bytes a copy reads and writes."""

    single: float
    double: float
    copy: float


class Work(NamedTuple):
    """What a stage must do at least."""

    macs: int
    bytes: int
    double: bool = False


@dataclass(frozen=True)
class Row:
    """A stage, its floor, how many times the floor it takes, and what sets the floor."""

    model: str
    device: str
    size: str
    stage: str
    seconds: float
    floor_seconds: float
    times_floor: float
    bound: str


def add_flags(flags: argparse.ArgumentParser) -> None:
    """All flags of the command."""
    flags.add_argument("--sizes", default="kodak", help="of pictures: kodak, 2k, 4k, WIDTHxHEIGHT, between commas")
    flags.add_argument("--repeats", type=int, default=5, help="timed calls of each stage")
    flags.add_argument("--quality", type=float, default=4.0)
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    cli.add_model_flags(flags)


def run(arguments: argparse.Namespace) -> int:
    """Measure the ceilings, then every stage."""
    from codec.errors import ConfigError
    from jobs.measuring.stages import subject
    from jobs.measuring.steps import bench_codec, picture, sizes

    if arguments.repeats < 1:
        raise ConfigError(f"--repeats {arguments.repeats}: must be at least 1")
    chosen = sizes(arguments.sizes)
    codec, _ = bench_codec(arguments.model, cli.check_device(arguments.device))
    ceilings = measure_ceilings(next(codec.parameters()).device, arguments.repeats)
    cli.say(
        f"matrix product {ceilings.single / 1e9:,.0f} Gop/s in fp32, {ceilings.double / 1e9:,.0f} in fp64; "
        f"copy {ceilings.copy / 1e9:.1f} GB/s"
    )
    for name, (width, height) in chosen.items():
        for row in rows(subject(codec, picture(width, height), arguments.quality), name, ceilings, arguments.repeats):
            print(json.dumps(asdict(row)) if arguments.json else line(row), flush=True)
    return cli.DONE


def measure_ceilings(device: "torch.device", repeats: int) -> Ceilings:
    """The most that plain torch reaches on this device."""
    import torch

    from jobs.measuring.steps import measure

    def product_rate(dtype: torch.dtype) -> float:
        matrix = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
        return 2 * MATRIX**3 / measure(lambda: matrix @ matrix, device, repeats).seconds_least

    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_rate = 2 * COPY_BYTES / measure(lambda: target.copy_(source), device, repeats).seconds_least
    return Ceilings(product_rate(torch.float32), product_rate(torch.float64), copy_rate)


def rows(on: "Subject", name: str, ceilings: Ceilings, repeats: int) -> list[Row]:
    """Every network's stage, a step of refinement, and decoding as a whole but for its entropy coder."""
    from jobs.measuring.stages import context_stage, refinement_step, transform_stages
    from jobs.measuring.steps import measure

    device = on.level.device
    stages = transform_stages(on)
    stages["context, in steps"] = context_stage(on, CACHED)[0]
    stages["refinement step"] = refinement_step(on.codec, on.pixels, on.level)
    found = []
    for stage, work in works(on).items():
        seconds = measure(stages[stage], device, repeats).seconds
        operations, moved = floors(work, ceilings)
        floor = max(operations, moved)
        bound = "operations" if operations >= moved else "bytes"
        found.append(Row(on.codec.config.name, str(device), name, stage, seconds, floor, seconds / floor, bound))
    parts = [row for row in found if row.stage in CODED]
    seconds, floor = (sum(getattr(row, what) for row in parts) for what in ("seconds", "floor_seconds"))
    label = "decode, all networks"
    return [*found, Row(on.codec.config.name, str(device), name, label, seconds, floor, seconds / floor, "sum")]


def floors(work: Work, ceilings: Ceilings) -> tuple[float, float]:
    """Seconds that the operations and that the bytes take at the ceilings."""
    rate = ceilings.double if work.double else ceilings.single
    return 2 * work.macs / rate, work.bytes / ceilings.copy


def works(on: "Subject") -> dict[str, Work]:
    """Operations and bytes of each stage."""
    from codec.networks.baselines import variants
    from codec.networks.complexity import area, group_by_group, one_pass, transform_macs

    codec, (y, z) = on.codec, on.latents
    config, size = codec.config, area(on.pixels.width, on.pixels.height)
    macs, cached = transform_macs(config, size), variants(config)[CACHED]
    once, steps = one_pass(config, size), group_by_group(cached, size)
    x, features, parameters = 3 * size.at(1), on.features.numel(), 3 * config.mixtures * y.numel()
    weights = {part: sum(p.numel() for p in module.parameters()) for part, module in codec.named_children()}
    kept = kept_values(cached, y.numel() // config.latent)
    planes = 2 * config.segments - 1
    return {
        "g_a": Work(macs["g_a"], 4 * (x + weights["g_a"] + y.numel())),
        "g_s": Work(macs["g_s"], 4 * (x + weights["g_s"] + y.numel())),
        "h_a": Work(macs["h_a"], 4 * (y.numel() + weights["h_a"] + z.numel())),
        "h_s": Work(macs["h_s"], 8 * (z.numel() + weights["h_s"] + features), double=True),
        "context, one pass": Work(
            once.total + macs["h_s"], 4 * (y.numel() + z.numel() + weights["context"] + weights["h_s"] + parameters)
        ),
        "context, in steps": Work(
            steps.total, 8 * (y.numel() + features + planes * weights["context"] + kept + parameters), double=True
        ),
        "refinement step": Work(
            once.refinement + 2 * (macs["h_s"] + macs["g_s"]),
            2 * 4 * (x + y.numel() + z.numel() + weights["context"] + weights["h_s"] + weights["g_s"] + parameters),
        ),
    }


def kept_values(config: "ModelConfig", positions: int) -> int:
    """Keys and values that the cached steps read: at plane n those of n planes, in every block."""
    planes = 2 * config.segments - config.skip_first
    return planes * (planes + 1) // 2 * positions // 2 * 2 * config.context_width * config.context_depth


def line(row: Row) -> str:
    """A row for people."""
    times = f"{row.times_floor:6.1f} times its floor of {row.floor_seconds:.4f} s"
    return f"{row.model:8} {row.size:10} {row.stage:22} {row.seconds:10.4f} s {times} ({row.bound})"
