"""`rdo-bench roofline`: seconds of each stage against the roofline model's lower bound on this machine.

    floor = max(operations / peak operation rate, bytes / peak bandwidth)

Both peaks are measured in the same run, in the stage's own precision: by a matrix product and by a copy. Operations
are those of `codec.networks.complexity`, two for each multiply-accumulate. Bytes are compulsory traffic: weights,
inputs and outputs once, and in cached steps the weights and the cached keys and values at every step.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from jobs import cli
from jobs.runtime import check_device

if TYPE_CHECKING:
    import torch

    from codec.architecture import ModelConfig
    from jobs.measuring.inputs import Size
    from jobs.measuring.stages import StageInputs

MATRIX_SIDE, COPY_BYTES = 2048, 1 << 28  # the copy is far larger than caches
CACHED = "EGR + SFG + cache"
DECODER_STAGES = ("h_s", "context, in steps", "g_s")  # all but the entropy coder


@dataclass(frozen=True)
class RooflineSettings:
    """Model and picture sizes to measure."""

    model: str
    device: str
    sizes: "dict[str, Size]"
    repeats: int
    quality: float
    json: bool


class Peaks(NamedTuple):
    """Measured peaks of a device: operations/s in single and in double precision, bytes/s read and written."""

    single: float
    double: float
    bandwidth: float


class Work(NamedTuple):
    """Multiply-accumulates and compulsory bytes of a stage; `double` is its precision."""

    macs: int
    bytes: int
    double: bool = False


@dataclass(frozen=True)
class Row:
    """Seconds of a stage, its floor, their ratio, and the bound that sets the floor: operations or bytes."""

    model: str
    device: str
    size: str
    stage: str
    seconds: float
    floor_seconds: float
    times_floor: float
    bound: str


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `rdo-bench roofline`."""
    flags.add_argument("--sizes", default="kodak", help="picture sizes: kodak, 2k, 4k, WIDTHxHEIGHT, between commas")
    flags.add_argument("--repeats", type=int, default=5, help="timed calls of each stage")
    flags.add_argument("--quality", type=float, default=4.0, help="quality level, 1 to 8")
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    cli.add_model_flags(flags)


def parse(arguments: argparse.Namespace) -> RooflineSettings:
    """Check the flags and return them as settings.

    Raises:
        ConfigError: no repeats, or a size that is none.
    """
    from jobs.measuring.inputs import check_repeats, parse_sizes

    check_repeats(arguments.repeats)
    return RooflineSettings(
        model=arguments.model,
        device=arguments.device,
        sizes=parse_sizes(arguments.sizes),
        repeats=arguments.repeats,
        quality=arguments.quality,
        json=arguments.json,
    )


def run(settings: RooflineSettings) -> int:
    """Measure the device's peaks, then print a row for every stage at every size."""
    from jobs.measuring.inputs import load_bench_codec, synthetic_picture
    from jobs.measuring.stages import prepare

    codec, _ = load_bench_codec(settings.model, check_device(settings.device))
    peaks = measure_peaks(next(codec.parameters()).device, settings.repeats)
    cli.say(
        f"matrix product {peaks.single / 1e9:,.0f} Gop/s in fp32, {peaks.double / 1e9:,.0f} in fp64; "
        f"copy {peaks.bandwidth / 1e9:.1f} GB/s"
    )
    for name, size in settings.sizes.items():
        inputs = prepare(codec, synthetic_picture(size), settings.quality)
        for row in rows(inputs, name, peaks, settings.repeats):
            print(json.dumps(asdict(row)) if settings.json else format_row(row), flush=True)
    return cli.DONE


def measure_peaks(device: "torch.device", repeats: int) -> Peaks:
    """Measure the operation rate of plain torch's matrix product and the bandwidth of its copy."""
    import torch

    from jobs.measuring.timing import time_calls

    def operation_rate(dtype: torch.dtype) -> float:
        matrix = torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=device, dtype=dtype)
        return 2 * MATRIX_SIDE**3 / time_calls(lambda: matrix @ matrix, device, repeats).seconds_least

    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPY_BYTES / time_calls(lambda: target.copy_(source), device, repeats).seconds_least
    return Peaks(operation_rate(torch.float32), operation_rate(torch.float64), bandwidth)


def rows(inputs: "StageInputs", size: str, peaks: Peaks, repeats: int) -> list[Row]:
    """Time every network, a step of refinement, and sum what decoding takes besides its entropy coder."""
    from jobs.measuring.stages import context_stage, refinement_step, transform_stages
    from jobs.measuring.timing import time_calls

    device, model = inputs.level.device, inputs.codec.config.name

    def row(stage: str, seconds: float, floor: float, bound: str) -> Row:
        return Row(
            model=model,
            device=str(device),
            size=size,
            stage=stage,
            seconds=seconds,
            floor_seconds=floor,
            times_floor=seconds / floor,
            bound=bound,
        )

    stages = transform_stages(inputs)
    stages["context, in steps"] = context_stage(inputs, CACHED).run
    stages["refinement step"] = refinement_step(inputs.codec, inputs.pixels, inputs.level)
    found = []
    for stage, work in stage_work(inputs).items():
        seconds = time_calls(stages[stage], device, repeats).seconds
        operations, traffic = floor_seconds(work, peaks)
        floor = max(operations, traffic)
        bound = "operations" if operations >= traffic else "bytes"
        found.append(row(stage, seconds, floor, bound))
    decoder = [row for row in found if row.stage in DECODER_STAGES]
    seconds, floor = sum(row.seconds for row in decoder), sum(row.floor_seconds for row in decoder)
    return [*found, row("decode, all networks", seconds, floor, "sum")]


def floor_seconds(work: Work, peaks: Peaks) -> tuple[float, float]:
    """Return the seconds that a stage's operations and its bytes take at the device's peaks."""
    operation_rate = peaks.double if work.double else peaks.single
    return 2 * work.macs / operation_rate, work.bytes / peaks.bandwidth


def stage_work(inputs: "StageInputs") -> dict[str, Work]:
    """Count operations and compulsory bytes of each stage; floats take 4 bytes, in double precision 8."""
    from codec.networks.baselines import variants
    from codec.networks.complexity import area, group_by_group, one_pass, transform_macs

    codec, (y, z) = inputs.codec, inputs.latents
    config, size = codec.config, area(inputs.pixels.width, inputs.pixels.height)
    macs, cached = transform_macs(config, size), variants(config)[CACHED]
    once, steps = one_pass(config, size), group_by_group(cached, size)
    x, features, parameters = 3 * size.at(1), inputs.features.numel(), 3 * config.mixtures * y.numel()
    weights = {part: sum(p.numel() for p in module.parameters()) for part, module in codec.named_children()}
    cache = cached_values(cached, y.numel() // config.latent)
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
            steps.total, 8 * (y.numel() + features + planes * weights["context"] + cache + parameters), double=True
        ),
        "refinement step": Work(
            once.refinement + 2 * (macs["h_s"] + macs["g_s"]),
            2 * 4 * (x + y.numel() + z.numel() + weights["context"] + weights["h_s"] + weights["g_s"] + parameters),
        ),
    }


def cached_values(config: "ModelConfig", positions: int) -> int:
    """Count the keys and values that cached steps read: at the n-th plane those of n planes, in every block."""
    planes = 2 * config.segments - config.skip_first
    return planes * (planes + 1) // 2 * positions // 2 * 2 * config.context_width * config.context_depth


def format_row(row: Row) -> str:
    """Format a row as a line of a table."""
    times = f"{row.times_floor:6.1f} times its floor of {row.floor_seconds:.4f} s"
    return f"{row.model:8} {row.size:10} {row.stage:22} {row.seconds:10.4f} s {times} ({row.bound})"
