"""Context model: spatio-channel window attention that predicts each coding group from those before it.

    tokens of group g  --embed-->  plane g  --blocks-->  context of group g + 1  --head, with h_s features-->  mixture

Plane g predicts group g + 1 at the same rearranged position. With SFG (`skip_first`) group 0 is coded from the
hyperprior alone and the last group is never embedded, so G - 1 planes run; without it a learned start plane comes first
and G planes run. Three ways to run the model, equal up to float rounding:

- `masked`: one pass over all planes with a block-causal mask; for training and refinement.
- `start` and `step`: one plane at a time against cached keys and values; for writing and reading files.
- `start` and `step` with `cached: false`: all planes again for each group; the reference in measurements.

Source: eContextformer (arXiv:2306.14287), figures of the architecture and of the optimised coding order.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.architecture import ModelConfig
from codec.networks.attention import Bias, Block, Cache
from codec.networks.groups import coding_groups, rearrange, restore, split_colours


class Mixture(NamedTuple):
    """Raw entropy parameters of tokens, in units of each channel's own deviation.

    Each is (B, G, H, W/2, k, p): `logits` of the weights (softmax over k), `means`, `log_scales` (natural logarithm).
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor


@dataclass(frozen=True)
class CodingState:
    """State of the decoder between two coding steps.

    Attributes:
        features: hyper-features by colour (B, 2, H, W/2, F).
        biases: attention bias of each block.
        caches: keys and values of each block, None before the first plane.
        planes: all planes so far (B, n, H, W/2, d_e); None in a model with caches.
        context: (B, 1, H, W/2, d_e), the head's input for the next group; None for the skipped first group.
        group: index of the group to be coded next.
    """

    features: Tensor
    biases: list[Bias]
    caches: list[Cache | None]
    planes: Tensor | None
    context: Tensor | None
    group: int


def pick(x: Tensor, places: list[int], dim: int) -> Tensor:
    """Select the slices `places` of x along `dim`, without copying a list of indices to the device, which blocks."""
    slices = x.unbind(dim)
    return torch.stack([slices[place] for place in places], dim)


class SegmentLinear(nn.Module):
    """Linear layer with separate weights for each channel segment, since segments differ in their statistics."""

    def __init__(self, segments: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(segments, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(segments, 1, outputs))
        nn.init.trunc_normal_(self.weight, std=inputs**-0.5)

    def forward(self, x: Tensor, segments: list[int]) -> Tensor:
        """Map x (B, G, H, W, in) to (B, G, H, W, out), group g by the weights of segment `segments[g]`."""
        flat = x.transpose(0, 1).flatten(1, 3)  # (G, B*H*W, in)
        out = torch.baddbmm(pick(self.bias, segments, 0), flat, pick(self.weight, segments, 0))
        return out.unflatten(1, (x.shape[0], x.shape[2], x.shape[3])).transpose(0, 1)


class EntropyHead(nn.Module):
    """Point-wise MLP from [h_s features, context] to the mixture's parameters of one token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mixtures, self.width = config.mixtures, config.segment_width
        self.features = SegmentLinear(config.segments, config.hyper_features, config.head_width)
        self.context = SegmentLinear(config.segments, config.context_width, config.head_width)
        self.out = SegmentLinear(config.segments, config.head_width, 3 * config.mixtures * self.width)
        with torch.no_grad():
            self.context.weight.mul_(0.5)
            self.out.weight.mul_(0.1)
            # start as one broad, one middle and one narrow Gaussian around zero: the tails and the zeros of a latent
            spread = torch.linspace(-1.5, 0.5, self.mixtures) if self.mixtures > 1 else torch.zeros(1)
            self.out.bias.unflatten(-1, (3, self.mixtures, -1))[:, :, 2] = spread[:, None]

    def forward(self, features: Tensor, context: Tensor | None, segments: list[int]) -> Mixture:
        """Return the mixture of each token, from features (B, G, H, W, F) and context (B, G, H, W, d_e).

        Context None gives the mixture that the hyperprior alone predicts.
        """
        hidden = self.features(features, segments)
        if context is not None:
            hidden = hidden + self.context(context, segments)
        out = self.out(F.gelu(hidden), segments).unflatten(-1, (3, self.mixtures, self.width))
        return Mixture(*out.unbind(-3))


class ContextModel(nn.Module):
    """Blocks of window attention over coded groups and the head that turns their output into mixtures."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.groups = coding_groups(config.segments, config.order)
        self.segments = [g.segment for g in self.groups]
        self.colours = [g.colour for g in self.groups]
        # planes embed groups[:-1]; without skip_first a start plane comes before them
        planes = len(self.groups) - config.skip_first
        self.embed = SegmentLinear(config.segments, config.segment_width, config.context_width)
        self.plane = nn.Parameter(torch.zeros(planes, 1, 1, config.context_width))
        nn.init.trunc_normal_(self.plane, std=0.02)
        self.blocks: Iterable[Block] = nn.ModuleList(  # type: ignore[assignment]  # its members are Blocks
            Block(config.context_width, config.heads, config.mlp_ratio, planes, config.window, shifted=bool(i % 2))
            for i in range(config.context_depth)
        )
        self.norm = nn.LayerNorm(config.context_width)
        self.head = EntropyHead(config)

    def step_segments(self, height: int, width: int) -> list[int]:  # noqa: ARG002  (others need the size)
        """Return the segment of each coding step of latents (height, width)."""
        return self.segments

    def tokens(self, y: Tensor) -> Tensor:
        """Rearrange y (B, M, H, W) to coding order (B, G, H, W/2, p)."""
        return rearrange(y, self.config.segments, self.config.order)

    def latents(self, tokens: Tensor, height: int, width: int) -> Tensor:  # noqa: ARG002  (others need the size)
        """Invert `tokens`: put (B, G, H, W/2, p) back as (B, M, height, width)."""
        return restore(tokens, self.config.segments, self.config.order)

    def masked(self, tokens: Tensor, features: Tensor, rate_bias: Tensor) -> Mixture:
        """Return every group's mixture, from one block-causal pass.

        Args:
            tokens: rounded latents in units of deviation (B, G, H, W/2, p).
            features: hyper-features (B, F, H, W).
            rate_bias: (B, d_e), the quality's offset of every token's embedding.
        """
        x = self._planes(tokens[:, :-1], rate_bias)
        x = self.norm(self._run_blocks(x, self._biases(features)))
        by_group = self._by_group(features)
        if not self.config.skip_first:
            return self.head(by_group, x, self.segments)
        first = self.head(by_group[:, :1], None, self.segments[:1])
        rest = self.head(by_group[:, 1:], x, self.segments[1:])
        return Mixture(*(torch.cat(pair, 1) for pair in zip(first, rest, strict=True)))

    def without_context(self, features: Tensor) -> Mixture:
        """Return every group's mixture from hyper-features (B, F, H, W) alone, without context."""
        return self.head(self._by_group(features), None, self.segments)

    def start(self, features: Tensor, rate_bias: Tensor) -> CodingState:
        """Return the state before the first group, from hyper-features (B, F, H, W) and `rate_bias` (B, d_e)."""
        by_colour, biases = split_colours(features), self._biases(features)
        state = CodingState(by_colour, biases, [None] * self.config.context_depth, None, None, 0)
        if self.config.skip_first:
            return state
        empty = by_colour.new_empty(by_colour.shape[0], 0, *by_colour.shape[2:4], self.config.segment_width)
        return self._run_plane(state, self._planes(empty, rate_bias))

    def mixture(self, state: CodingState) -> Mixture:
        """Return the parameters (B, 1, H, W/2, k, p) of the group that is coded next."""
        colour, segment = self.colours[state.group], self.segments[state.group]
        return self.head(state.features[:, colour, None], state.context, [segment])

    def step(self, state: CodingState, token: Tensor, rate_bias: Tensor) -> CodingState:
        """Return the next state, given the tokens (B, 1, H, W/2, p) of `state.group` and `rate_bias` (B, d_e)."""
        coded = replace(state, group=state.group + 1)
        if coded.group == len(self.groups):
            return coded
        return self._run_plane(coded, self._plane(token, state.group, rate_bias))

    def _by_group(self, features: Tensor) -> Tensor:
        """Return the hyper-features (B, F, H, W) at each group's positions, (B, G, H, W/2, F)."""
        return pick(split_colours(features), self.colours, 1)

    def _biases(self, features: Tensor) -> list[Bias]:
        """Return every block's attention bias, for latents of the size of hyper-features (B, F, H, W)."""
        return [block.bias(len(self.plane), features.shape[2], features.shape[3] // 2) for block in self.blocks]

    def _planes(self, tokens: Tensor, rate_bias: Tensor) -> Tensor:
        """Embed the first n groups (B, n, H, W/2, p) as planes (B, n or n + 1, H, W/2, d_e)."""
        x = self.embed(tokens, self.segments[: tokens.shape[1]]) if tokens.shape[1] else None
        if not self.config.skip_first:
            start = tokens.new_zeros(tokens.shape[0], 1, *tokens.shape[2:4], self.config.context_width)
            x = start if x is None else torch.cat([start, x], 1)
        assert x is not None
        return x + self.plane[: x.shape[1]] + rate_bias[:, None, None, None]

    def _plane(self, token: Tensor, group: int, rate_bias: Tensor) -> Tensor:
        """Embed one group's tokens (B, 1, H, W/2, p) as a plane (B, 1, H, W/2, d_e)."""
        index = group if self.config.skip_first else group + 1
        return self.embed(token, [self.segments[group]]) + self.plane[index] + rate_bias[:, None, None, None]

    def _run_blocks(self, x: Tensor, biases: list[Bias]) -> Tensor:
        """Run the first n planes (B, n, H, W/2, d_e) through all blocks at once."""
        for block, bias in zip(self.blocks, biases, strict=True):
            x = block(x, bias)
        return x

    def _run_plane(self, state: CodingState, x: Tensor) -> CodingState:
        """Run one plane (B, 1, H, W/2, d_e) through the blocks against the caches."""
        if not self.config.cached:
            planes = x if state.planes is None else torch.cat([state.planes, x], 1)
            return replace(state, planes=planes, context=self.norm(self._run_blocks(planes, state.biases)[:, -1:]))
        caches: list[Cache | None] = []
        for block, bias, cache in zip(self.blocks, state.biases, state.caches, strict=True):
            x, grown = block.step(x, bias, cache)
            caches.append(grown)
        return replace(state, caches=caches, context=self.norm(x))
