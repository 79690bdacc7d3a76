"""`rdo-bench complexity`: parameters and operations of each part, and of the context model with each switch."""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from torch.nn import Module

    from codec.architecture import ModelConfig
    from codec.networks.complexity import ContextMacs
    from jobs.measuring.inputs import Size

OURS = "EGR + SFG + cache"
PRINTED = {  # arXiv:2306.14287
    "Contextformer, a pass for each position, over ours in steps": "145",
    "Contextformer over pContextformer, windows side by side, both in steps": "over 100",
    "EGR alone saves, %": "10 to 13",
    "SFG saves of the cached model, %": "10 to 13",
    "EGR, SFG and cache save, %": "84",
}


@dataclass(frozen=True)
class ComplexitySettings:
    """Model configurations and picture sizes to count."""

    models: tuple[str, ...]
    sizes: "dict[str, Size]"
    json: bool


@dataclass(frozen=True)
class Row:
    """Parameters of one part and its thousands of multiply-accumulates (kMAC) per picture pixel.

    The context model has three counts: of one pass over known latents, of a decoder's steps, and of one step of
    refinement. A transform has the first alone.
    """

    model: str
    size: str
    part: str
    parameters: int | None
    kmac_per_pixel: float
    steps_kmac_per_pixel: float | None = None
    refinement_kmac_per_pixel: float | None = None


@dataclass(frozen=True)
class Ratio:
    """Ratio of costs as the paper prints it, and as our counted operations give it."""

    model: str
    size: str
    ratio: str
    printed: str
    ours: float


def add_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of `rdo-bench complexity`."""
    flags.add_argument("--models", default="small,base", help="configurations, or YAML files as in configs/models")
    flags.add_argument("--sizes", default="kodak,2k,4k", help="picture sizes: kodak, 2k, 4k, WIDTHxHEIGHT")
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")


def parse(arguments: argparse.Namespace) -> ComplexitySettings:
    """Return the flags as settings.

    Raises:
        ConfigError: a size that is none.
    """
    from jobs.measuring.inputs import parse_sizes

    return ComplexitySettings(tuple(arguments.models.split(",")), parse_sizes(arguments.sizes), arguments.json)


def run(settings: ComplexitySettings) -> int:
    """Print a table of parts, then the paper's ratios, for each configuration and size."""
    from codec.config_files import model_config

    for config in [model_config(name) for name in settings.models]:
        parameters = codec_parameters(config)
        for name, size in settings.sizes.items():
            found: list[Row | Ratio] = [*rows(config, parameters, name, size), *ratios(config, name, size)]
            if settings.json:
                print("\n".join(json.dumps(asdict(row)) for row in found))
            else:
                print(f"{config.name}, {size.width}x{size.height}, kMAC/pixel")
                print(f"{'':32} {'parameters':>11} {'one pass':>10} {'in steps':>10} {'refinement':>10}")
                print("\n".join(format_row(row) for row in found), end="\n\n")
    return cli.DONE


def rows(config: "ModelConfig", parameters: dict[str, int], name: str, size: "Size") -> list[Row]:
    """Count the transforms, the parts of the context model, and the context model with every set of its switches."""
    from codec.networks.baselines import variants
    from codec.networks.complexity import area, group_by_group, one_pass, transform_macs

    padded = area(*size)
    found = [
        Row(config.name, name, part, parameters[part], macs / padded.pixels / 1e3)
        for part, macs in transform_macs(config, padded).items()
    ]
    once, steps = one_pass(config, padded), group_by_group(config, padded)
    counted: list[tuple[str, int | None, tuple[ContextMacs, ContextMacs]]] = [
        (f"context {part}", None, pair) for part, pair in _parts(once, steps).items()
    ]
    for variant, other in variants(config).items():
        macs = one_pass(other, padded), group_by_group(other, padded)
        counted.append((variant, context_parameters(other), macs))
    for part, count, (once, steps) in counted:
        kmacs = (macs / padded.pixels / 1e3 for macs in (once.total, steps.total, once.refinement))
        found.append(Row(config.name, name, part, count, *kmacs))
    return found


def _parts(once: "ContextMacs", steps: "ContextMacs") -> "dict[str, tuple[ContextMacs, ContextMacs]]":
    """Split both counts into parts; attention is its projections and its two products."""
    parts = {"embed": ("embed",), "attention": ("projections", "products"), "mlp": ("mlp",), "head": ("head",)}
    return {part: (once.only(*names), steps.only(*names)) for part, names in parts.items()}


def codec_parameters(config: "ModelConfig") -> dict[str, int]:
    """Count the parameters of each part of a codec."""
    from codec.model import Codec

    return {part: _count(module) for part, module in Codec(config).named_children()}


def context_parameters(config: "ModelConfig") -> int:
    """Count the parameters of a context model without allocating them."""
    import torch

    from codec.networks.baselines import make_context

    with torch.device("meta"):
        return _count(make_context(config))


def _count(module: "Module") -> int:
    return sum(p.numel() for p in module.parameters())


def ratios(config: "ModelConfig", name: str, size: "Size") -> list[Ratio]:
    """Compute the paper's ratios from our operations; those with Contextformer only where its windows fit."""
    from codec.networks.baselines import variants
    from codec.networks.complexity import area, group_by_group, one_pass

    padded, found = area(*size), variants(config)
    steps = {variant: group_by_group(other, padded).total for variant, other in found.items()}
    serial: list[float | None] = [None, None]
    if "Contextformer" in found:
        sliding = steps[f"pContextformer, stride {2 * config.window}"]
        serial = [one_pass(found["Contextformer"], padded).total / steps[OURS], steps["Contextformer"] / sliding]
    ours = (
        *serial,
        100 * (1 - steps["EGR"] / steps["plain groups"]),
        100 * (1 - steps[OURS] / steps["EGR + cache"]),
        100 * (1 - steps[OURS] / steps["plain groups"]),
    )
    pairs = zip(PRINTED.items(), ours, strict=True)
    return [Ratio(config.name, name, *pair, value) for pair, value in pairs if value is not None]


def format_row(row: Row | Ratio) -> str:
    """Format a row as a line of a table, a ratio as a sentence."""
    if isinstance(row, Ratio):
        return f"{row.ratio}: {row.ours:.1f} (the paper: {row.printed})"
    figures = (row.kmac_per_pixel, row.steps_kmac_per_pixel, row.refinement_kmac_per_pixel)
    count = "" if row.parameters is None else f"{row.parameters:,}"
    return f"{row.part:32} {count:>11} " + " ".join(f"{'' if f is None else format(f, ',.2f'):>10}" for f in figures)
