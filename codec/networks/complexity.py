"""Multiply-accumulates (MACs) of each part of a codec by formula, and of its context model in each way it is run.

Counted are convolutions, linear layers and the two products of attention, over pictures padded to whole strides and
windows padded to their size, masked pairs included. Elementwise work (activations, softmax, norms, GDN's division), the
factorised prior and the entropy coder are not counted. A step of refinement is one forward and one backward pass to the
latents, with frozen weights: linear layers count twice, attention's products three times.

The invariant, held by a test: torch's own counter finds the same numbers in the running model.
"""

from typing import NamedTuple

from codec.architecture import STRIDE, Y_PIXELS, ModelConfig
from codec.networks.groups import coding_groups
from codec.networks.lapped import BLOCK, CELL


class Area(NamedTuple):
    """Size of a picture: its pixels before padding, and its padded height and width in pixels."""

    pixels: int
    height: int
    width: int

    def at(self, stride: int) -> int:
        """Return the number of positions on a grid of this stride in pixels."""
        return self.height * self.width // stride**2


class ContextMacs(NamedTuple):
    """MACs of one run of the context model by part: `products` are attention's two, the others linear layers."""

    embed: int = 0
    projections: int = 0
    products: int = 0
    mlp: int = 0
    head: int = 0

    @property
    def total(self) -> int:
        """Sum of all parts, for one forward pass."""
        return sum(self)

    @property
    def refinement(self) -> int:
        """Sum of all parts, for one forward pass and one backward pass to the inputs."""
        return 2 * self.total + self.products

    def only(self, *parts: str) -> "ContextMacs":
        """Return these parts, and zero for all others."""
        return ContextMacs(**{part: getattr(self, part) for part in parts})

    def plus(self, other: "ContextMacs") -> "ContextMacs":
        """Return the sum with another run, part by part."""
        return ContextMacs(*(a + b for a, b in zip(self, other, strict=True)))


def area(width: int, height: int) -> Area:
    """Return the size of a picture of width x height pixels, padded to whole strides."""
    return Area(width * height, -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE)


def transform_macs(config: ModelConfig, size: Area) -> dict[str, int]:
    """Return the MACs of g_a, g_s, h_a and h_s, by name."""
    analysis, synthesis = _klt(config, size) if config.transform == "klt" else _paper(config, size)
    if config.transform == "skip":
        analysis, synthesis = (macs + _lapped(config, size) for macs in (analysis, synthesis))
    n, m = config.hyper_width, config.latent
    y, between, z = size.at(Y_PIXELS), size.at(2 * Y_PIXELS), size.at(STRIDE)
    return {
        "g_a": analysis,
        "g_s": synthesis,
        "h_a": 9 * m * n * y + 25 * n * n * (between + z),
        "h_s": 25 * n * n * (z + between) + 9 * n * config.hyper_features * y,
    }


def _paper(config: ModelConfig, size: Area) -> tuple[int, int]:
    """Return the MACs of the paper's analysis and synthesis."""
    n, m = config.width, config.latent
    half, y = n // 2, size.at(Y_PIXELS)
    attention = 6 * (n * half + 9 * half * half + half * n) + n * n  # Cheng et al.: 2 x 3 residual units, a gate
    gdn = n * n
    analysis = (27 * n + gdn + attention) * size.at(2) + (9 * n * n + gdn) * (size.at(4) + size.at(8))
    analysis += 9 * n * m * y
    skip = m * n if m != n else 0
    synthesis = (9 * m * n + skip + 3 * 9 * n * n + 9 * n * n) * y  # two residual blocks, first upsampling
    synthesis += (gdn + 9 * n * n) * size.at(8) + (gdn + 9 * n * n) * size.at(4)
    synthesis += (attention + gdn + 27 * n) * size.at(2)
    return analysis, synthesis


def _lapped(config: ModelConfig, size: Area) -> int:
    """Return the MACs of the linear lapped path, in either direction."""
    lap = 3 * BLOCK * ((size.height - BLOCK) * size.width + (size.width - BLOCK) * size.height)
    return lap + 3 * BLOCK**2 * config.latent * size.at(BLOCK)


def _klt(config: ModelConfig, size: Area) -> tuple[int, int]:
    """Return the MACs of analysis and synthesis of the transform `klt`."""
    n, m = config.width, config.latent
    cell = 3 * CELL**2  # samples
    analysis = _lapped(config, size) + (9 * cell * n + config.analysis_blocks * 18 * n * n) * size.at(CELL)
    analysis += 4 * n * m * size.at(BLOCK)
    synthesis = _lapped(config, size) + 4 * n * m * size.at(BLOCK)
    synthesis += (cell * n + config.synthesis_blocks * 18 * n * n + 9 * n * cell) * size.at(CELL)
    return analysis, synthesis


def one_pass(config: ModelConfig, size: Area) -> ContextMacs:
    """Return the MACs of the context model in one masked pass, as in training and refinement."""
    if config.context == "contextformer":
        return _serial(config, size, size.at(BLOCK))
    planes = _planes_run(config, _planes(config))
    return _pointwise(config, size).plus(_blocks(config, size, planes, planes))


def group_by_group(config: ModelConfig, size: Area) -> ContextMacs:
    """Return the MACs of the context model run group by group, or token by token, as a decoder must."""
    if config.context == "contextformer":
        return _serial(config, size, config.segments * size.at(BLOCK))
    macs = _pointwise(config, size)
    for planes in range(1, _planes(config) + 1):
        if config.cached:
            new = 1 if config.rearranged else 2
            macs = macs.plus(_blocks(config, size, new, planes - 1 + new))
        else:
            whole = _planes_run(config, planes)
            macs = macs.plus(_blocks(config, size, whole, whole))
    return macs


def _planes(config: ModelConfig) -> int:
    """Return the number of planes of all coding groups that run through the blocks."""
    return 2 * config.segments - config.skip_first


def _planes_run(config: ModelConfig, planes: int) -> int:
    """Return how many planes run for the first `planes`: without EGR, both colours of every segment touched."""
    if config.rearranged:
        return planes
    return 2 * len({group.segment for group in coding_groups(config.segments, config.order)[:planes]})


def _pointwise(config: ModelConfig, size: Area) -> ContextMacs:
    """Return the MACs of embedding and head, which run once for each token, however the blocks are run."""
    groups = 2 * config.segments
    tokens = size.at(BLOCK) // 2  # of a group; latents come in multiples of four
    with_context = groups - config.skip_first
    out = config.head_width * (groups * config.hyper_features + with_context * config.context_width)
    out += groups * config.head_width * 3 * config.mixtures * config.segment_width
    return ContextMacs(embed=(groups - 1) * tokens * config.segment_width * config.context_width, head=tokens * out)


def _blocks(config: ModelConfig, size: Area, queries: int, keys: int) -> ContextMacs:
    """Return the MACs of all blocks for `queries` planes that attend to `keys` planes."""
    height, width = size.height // BLOCK, size.width // BLOCK // 2
    rows, cols = config.window, config.window // 2
    if config.context == "pcontextformer":
        windows = -(-height // config.stride) * -(-width // max(1, config.stride // 2))
        tokens = windows * rows * cols
    else:
        windows = -(-height // rows) * -(-width // cols)
        tokens = height * width
    inside = windows * rows * cols * queries  # with what pads the windows
    return _layers(config, tokens * queries, inside, inside * rows * cols * keys)


def _serial(config: ModelConfig, size: Area, windows: int) -> ContextMacs:
    """Return the MACs of Contextformer: all tokens of `windows` windows, and head and embedding of every token."""
    tokens, window = config.segments * size.at(BLOCK), config.segments * config.window**2 // 2
    head = config.head_width * (config.hyper_features + config.context_width)
    head += config.head_width * 3 * config.mixtures * config.segment_width
    once = ContextMacs(embed=tokens * config.segment_width * config.context_width, head=tokens * head)
    return once.plus(_layers(config, windows * window, windows * window, windows * window * window))


def _layers(config: ModelConfig, tokens: int, inside: int, pairs: int) -> ContextMacs:
    """Return the MACs of all blocks.

    Args:
        config: widths and depth.
        tokens: tokens that pass the projection of heads and the MLP.
        inside: tokens that pass the projection to queries, keys and values, with those that pad the windows.
        pairs: query-key pairs of both products of attention.
    """
    d = config.context_width
    return ContextMacs(
        projections=config.context_depth * (3 * inside + tokens) * d * d,
        products=config.context_depth * pairs * 2 * d,
        mlp=config.context_depth * tokens * 2 * config.mlp_ratio * d * d,
    )
