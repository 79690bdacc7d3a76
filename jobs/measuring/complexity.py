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

OURS = "EGR + SFG + cache"
PRINTED = {
    "Contextformer, a pass for each position, over ours in steps": "145",
    "Contextformer over pContextformer, windows side by side, both in steps": "over 100",
    "EGR alone saves, %": "10 to 13",
    "SFG saves of the cached model, %": "10 to 13",
    "EGR, SFG and cache save, %": "84",
}


@dataclass(frozen=True)
class Row:
    """Operations for each pixel of the picture; of a transform in `kmac_per_pixel` alone.

    The context model's are those of one pass over known latents, of the steps that a decoder takes, and of one step of
    refinement.
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
    """What the paper prints, and what our operations give."""

    model: str
    size: str
    ratio: str
    printed: str
    ours: float


def add_flags(flags: argparse.ArgumentParser) -> None:
    """All flags of the command."""
    flags.add_argument("--models", default="small,base", help="configurations, or YAML files as in configs/models")
    flags.add_argument("--sizes", default="kodak,2k,4k", help="of pictures; also WIDTHxHEIGHT")
    flags.add_argument("--json", action="store_true", help="print rows as JSON, one a line")


def run(arguments: argparse.Namespace) -> int:
    """Print every row, then the ratios."""
    from codec.config_files import model_config
    from jobs.measuring.steps import sizes

    chosen = sizes(arguments.sizes)
    for config in [model_config(name) for name in arguments.models.split(",")]:
        counts = parameters(config)
        for name, (width, height) in chosen.items():
            found: list[Row | Ratio] = [*rows(config, counts, name, width, height)]
            found += ratios(config, name, width, height)
            if arguments.json:
                print("\n".join(json.dumps(asdict(row)) for row in found))
            else:
                print(f"{config.name}, {width}x{height}, kMAC/pixel")
                print(f"{'':32} {'parameters':>11} {'one pass':>10} {'in steps':>10} {'refinement':>10}")
                print("\n".join(line(row) for row in found), end="\n\n")
    return cli.DONE


def rows(config: "ModelConfig", counts: dict[str, int], name: str, width: int, height: int) -> list[Row]:
    """The transforms, the parts of the context model, and the context model with every set of switches."""
    from codec.networks.baselines import variants
    from codec.networks.complexity import area, group_by_group, one_pass, transform_macs

    size = area(width, height)
    found = [
        Row(config.name, name, part, counts[part], macs / size.pixels / 1e3)
        for part, macs in transform_macs(config, size).items()
    ]
    once, steps = one_pass(config, size), group_by_group(config, size)
    counted: list[tuple[str, int | None, tuple[ContextMacs, ContextMacs]]] = [
        (f"context {part}", None, pair) for part, pair in _parts(once, steps).items()
    ]
    for variant, other in variants(config).items():
        counted.append((variant, context_parameters(other), (one_pass(other, size), group_by_group(other, size))))
    for part, count, (once, steps) in counted:
        figures = (macs / size.pixels / 1e3 for macs in (once.total, steps.total, once.refinement))
        found.append(Row(config.name, name, part, count, *figures))
    return found


def _parts(once: "ContextMacs", steps: "ContextMacs") -> "dict[str, tuple[ContextMacs, ContextMacs]]":
    """The two counts part by part: projections and products are attention."""
    kept = {"embed": ("embed",), "attention": ("projections", "products"), "mlp": ("mlp",), "head": ("head",)}
    return {part: (once.only(*names), steps.only(*names)) for part, names in kept.items()}


def parameters(config: "ModelConfig") -> dict[str, int]:
    """Of each part of a codec."""
    from codec.model import Codec

    return {part: _count(module) for part, module in Codec(config).named_children()}


def context_parameters(config: "ModelConfig") -> int:
    """Of the context model; no memory is taken."""
    import torch

    from codec.networks.baselines import make_context

    with torch.device("meta"):
        return _count(make_context(config))


def _count(module: "Module") -> int:
    return sum(p.numel() for p in module.parameters())


def ratios(config: "ModelConfig", name: str, width: int, height: int) -> list[Ratio]:
    """The paper's, from our operations."""
    from codec.networks.baselines import variants
    from codec.networks.complexity import area, group_by_group, one_pass

    size, found = area(width, height), variants(config)
    steps = {variant: group_by_group(other, size).total for variant, other in found.items()}
    serial: list[float | None] = [None, None]  # where there are no baselines
    if "Contextformer" in found:
        apart = steps[f"pContextformer, stride {2 * config.window}"]
        serial = [one_pass(found["Contextformer"], size).total / steps[OURS], steps["Contextformer"] / apart]
    ours = (
        *serial,
        100 * (1 - steps["EGR"] / steps["plain groups"]),
        100 * (1 - steps[OURS] / steps["EGR + cache"]),
        100 * (1 - steps[OURS] / steps["plain groups"]),
    )
    pairs = zip(PRINTED.items(), ours, strict=True)
    return [Ratio(config.name, name, *pair, value) for pair, value in pairs if value is not None]


def line(row: Row | Ratio) -> str:
    """A row for people."""
    if isinstance(row, Ratio):
        return f"{row.ratio}: {row.ours:.1f} (the paper: {row.printed})"
    figures = (row.kmac_per_pixel, row.steps_kmac_per_pixel, row.refinement_kmac_per_pixel)
    count = "" if row.parameters is None else f"{row.parameters:,}"
    return f"{row.part:32} {count:>11} " + " ".join(f"{'' if f is None else format(f, ',.2f'):>10}" for f in figures)
