"""Multiply-accumulates (MACs) of each part of a codec by formula, and of its context model by the way it is run.

Counted is what runs: convolutions, linear layers, and the two products of attention, over pictures padded to whole
strides and windows filled up to their size, masked pairs included. Not counted: what is done element by element
(activations, softmax, norms, GDN's division), the factorised prior, the entropy coder. A step of refinement is one
forward and one backward pass to the latents, with frozen weights: linear work twice, attention's products three times.

The invariant, held by a test: torch's own counter finds the same numbers in the running model.
"""

from typing import NamedTuple

from codec.architecture import STRIDE, ModelConfig
from codec.networks.groups import coding_groups
from codec.networks.lapped import BLOCK, CELL


class Area(NamedTuple):
    """A picture's pixels, and its padded sides."""

    pixels: int
    height: int
    width: int

    def at(self, stride: int) -> int:
        """Positions on a grid of this stride."""
        return self.height * self.width // stride**2


class ContextMacs(NamedTuple):
    """Parts of one run of the context model: `products` are attention's, all others are linear layers."""

    embed: int = 0
    projections: int = 0
    products: int = 0
    mlp: int = 0
    head: int = 0

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self)

    @property
    def refinement(self) -> int:
        """Forward and backward to the inputs."""
        return 2 * self.total + self.products

    def only(self, *parts: str) -> "ContextMacs":
        """These parts alone."""
        return ContextMacs(**{part: getattr(self, part) for part in parts})

    def plus(self, other: "ContextMacs") -> "ContextMacs":
        """Sum, part by part."""
        return ContextMacs(*(a + b for a, b in zip(self, other, strict=True)))


def area(width: int, height: int) -> Area:
    """Of a picture in pixels."""
    return Area(width * height, -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE)


def transform_macs(config: ModelConfig, size: Area) -> dict[str, int]:
    """MACs of g_a, g_s, h_a and h_s."""
    analysis, synthesis = _klt(config, size) if config.transform == "klt" else _paper(config, size)
    if config.transform == "skip":
        analysis, synthesis = (macs + _lapped(config, size) for macs in (analysis, synthesis))
    n, m = config.hyper_width, config.latent
    return {
        "g_a": analysis,
        "g_s": synthesis,
        "h_a": 9 * m * n * size.at(16) + 25 * n * n * (size.at(32) + size.at(64)),
        "h_s": 25 * n * n * (size.at(64) + size.at(32)) + 9 * n * config.hyper_features * size.at(16),
    }


def _paper(config: ModelConfig, size: Area) -> tuple[int, int]:
    n, m = config.width, config.latent
    half = n // 2
    attention = 6 * (n * half + 9 * half * half + half * n) + n * n  # Cheng et al.: 2 x 3 residual units, a gate
    gdn = n * n
    analysis = (27 * n + gdn + attention) * size.at(2) + (9 * n * n + gdn) * (size.at(4) + size.at(8))
    analysis += 9 * n * m * size.at(16)
    skip = m * n if m != n else 0
    synthesis = (9 * m * n + skip + 3 * 9 * n * n + 9 * n * n) * size.at(16)  # two residual blocks, first upsampling
    synthesis += (gdn + 9 * n * n) * size.at(8) + (gdn + 9 * n * n) * size.at(4)
    synthesis += (attention + gdn + 27 * n) * size.at(2)
    return analysis, synthesis


def _lapped(config: ModelConfig, size: Area) -> int:
    """The linear path."""
    lap = 3 * BLOCK * ((size.height - BLOCK) * size.width + (size.width - BLOCK) * size.height)
    return lap + 3 * BLOCK**2 * config.latent * size.at(BLOCK)


def _klt(config: ModelConfig, size: Area) -> tuple[int, int]:
    n, m = config.width, config.latent
    cell = 3 * CELL**2  # samples
    analysis = _lapped(config, size) + (9 * cell * n + config.analysis_blocks * 18 * n * n) * size.at(CELL)
    analysis += 4 * n * m * size.at(BLOCK)
    synthesis = _lapped(config, size) + 4 * n * m * size.at(BLOCK)
    synthesis += (cell * n + config.synthesis_blocks * 18 * n * n + 9 * n * cell) * size.at(CELL)
    return analysis, synthesis


def one_pass(config: ModelConfig, size: Area) -> ContextMacs:
    """The context model over known latents, as training and refinement run it, and a plain encoder may."""
    if config.context == "contextformer":
        return _serial(config, size, size.at(BLOCK))
    planes = _planes(config)
    return _once(config, size).plus(_blocks(config, size, _whole(config, planes), _whole(config, planes)))


def group_by_group(config: ModelConfig, size: Area) -> ContextMacs:
    """The context model group by group, or token by token: what a decoder must do."""
    if config.context == "contextformer":
        return _serial(config, size, config.segments * size.at(BLOCK))
    macs = _once(config, size)
    for planes in range(1, _planes(config) + 1):
        if config.cached:
            new = 1 if config.rearranged else 2
            macs = macs.plus(_blocks(config, size, new, planes - 1 + new))
        else:
            whole = _whole(config, planes)
            macs = macs.plus(_blocks(config, size, whole, whole))
    return macs


def _planes(config: ModelConfig) -> int:
    return 2 * config.segments - config.skip_first


def _whole(config: ModelConfig, planes: int) -> int:
    """Planes that run for `planes` of them: without EGR, both colours of every segment touched."""
    if config.rearranged:
        return planes
    return 2 * len({group.segment for group in coding_groups(config.segments, config.order)[:planes]})


def _once(config: ModelConfig, size: Area) -> ContextMacs:
    """What every token meets once, however the blocks are run: embedding and head."""
    groups = 2 * config.segments
    tokens = size.at(BLOCK) // 2  # of a group; latents come in multiples of four
    with_context = groups - config.skip_first
    out = config.head_width * (groups * config.hyper_features + with_context * config.context_width)
    out += groups * config.head_width * 3 * config.mixtures * config.segment_width
    return ContextMacs(embed=(groups - 1) * tokens * config.segment_width * config.context_width, head=tokens * out)


def _blocks(config: ModelConfig, size: Area, queries: int, keys: int) -> ContextMacs:
    """All blocks for so many planes of queries against so many planes of keys."""
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
    """Windows of `contextformer`, each in whole; the head and embedding of every token."""
    tokens, window = config.segments * size.at(BLOCK), config.segments * config.window**2 // 2
    head = config.head_width * (config.hyper_features + config.context_width)
    head += config.head_width * 3 * config.mixtures * config.segment_width
    once = ContextMacs(embed=tokens * config.segment_width * config.context_width, head=tokens * head)
    return once.plus(_layers(config, windows * window, windows * window, windows * window * window))


def _layers(config: ModelConfig, tokens: int, inside: int, pairs: int) -> ContextMacs:
    """All blocks: linear layers over `tokens`, the first over what is `inside` windows; both products of `pairs`."""
    d = config.context_width
    return ContextMacs(
        projections=config.context_depth * (3 * inside + tokens) * d * d,
        products=config.context_depth * pairs * 2 * d,
        mlp=config.context_depth * tokens * 2 * config.mlp_ratio * d * d,
    )
