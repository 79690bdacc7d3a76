"""Baselines: the context models that the paper compares with, built of the blocks of `codec.networks.context`.

- `UnsqueezedContext`: eContextformer without EGR, which processes both colours of a segment whether coded or not.
- `SlidingContext`: pContextformer, with eContextformer's groups; all blocks attend in the same window, windows lie a
  stride apart, and only the middle of each is used.
- `SerialContext`: Contextformer, one token a step, each from a window of its own.

They serve to measure ratios of cost; none has trained weights. Positions outside the picture are zero and count as
coded, so that sliding windows need no masks.

Source: arXiv:2306.14287 and arXiv:2203.02452, which describe them in prose; the position of windows is our reading.
"""

from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.architecture import WINDOW_TOKENS_MAX, ModelConfig
from codec.networks.attention import MASKED, Bias, Cache
from codec.networks.context import CodingState, ContextModel, Mixture, pick

WINDOWS_AT_ONCE = 64  # windows that the serial model processes together, which bounds its memory


def variants(config: ModelConfig) -> dict[str, ModelConfig]:
    """Return the paper's comparison: eContextformer with every set of its switches, pContextformer, Contextformer.

    The last two have windows twice as wide; they are left out where those exceed `WINDOW_TOKENS_MAX`.
    """
    switches = {"EGR": "rearranged", "SFG": "skip_first", "cache": "cached"}
    found = {}
    for on in product((False, True), repeat=len(switches)):
        chosen: dict[str, Any] = dict(zip(switches.values(), on, strict=True))
        name = " + ".join(name for name, is_on in zip(switches, on, strict=True) if is_on)
        found[name or "plain groups"] = replace(config, context="econtextformer", **chosen)
    if config.segments * (2 * config.window) ** 2 > WINDOW_TOKENS_MAX:
        return found
    off: dict[str, Any] = {"rearranged": True, "skip_first": False, "cached": False, "window": 2 * config.window}
    for stride in (2 * config.window, config.window, config.window // 2, 1):
        found[f"pContextformer, stride {stride}"] = replace(config, context="pcontextformer", stride=stride, **off)
    found["Contextformer"] = replace(config, context="contextformer", stride=1, **off)
    return found


def make_context(config: ModelConfig) -> ContextModel:
    """Make the context model that a configuration names."""
    if config.context == "econtextformer":
        return ContextModel(config) if config.rearranged else UnsqueezedContext(config)
    return SlidingContext(config) if config.context == "pcontextformer" else SerialContext(config)


class UnsqueezedContext(ContextModel):
    """Context model without EGR: a segment is processed as K x K windows of both colours, coded or not.

    It runs in the squeezed layout, on equal windows in which the planes not yet coded are empty and masked. Without
    SFG the start plane occupies one colour of a segment.
    """

    def planes_run(self, planes: int) -> int:
        """Return the number of planes of all segments that the first `planes` planes touch."""
        return planes + planes % 2 if self.config.order == "sfo" else 2 * min(planes, self.config.segments)

    def _biases(self, features: Tensor) -> list[Bias]:
        # room for two empty planes, masked twice: a query in the padding masks every key once and must ignore these
        room = self.config.window**2
        biases = super()._biases(features)
        return [b._replace(learned=F.pad(b.learned, (0, room, 0, room), value=2 * MASKED)) for b in biases]

    def _run_blocks(self, x: Tensor, biases: list[Bias]) -> Tensor:
        planes = x.shape[1]
        return super()._run_blocks(_add_planes(x, self.planes_run(planes) - planes), biases)[:, :planes]

    def _run_plane(self, state: CodingState, x: Tensor) -> CodingState:
        """Run one plane; with a cache, both colours of its segment are computed and the other's output is dropped."""
        if not self.config.cached:
            return super()._run_plane(state, x)
        x, caches = _add_planes(x, 1), list[Cache | None]()
        for block, bias, cache in zip(self.blocks, state.biases, state.caches, strict=True):
            x, grown = block.step(x, bias, cache)
            caches.append(grown._replace(seen=grown.seen - block.window**2 // 2))
        return replace(state, caches=caches, context=self.norm(x[:, :1]))


class SlidingContext(ContextModel):
    """Sliding-window model (pContextformer): K x K latents, `stride` apart, each run for the patch in its middle."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.shifted = False

    def _biases(self, features: Tensor) -> list[Bias]:  # noqa: ARG002  (all windows are alike)
        return [Bias(block.relative(len(self.plane) * block.window**2 // 2)) for block in self.blocks]

    def _run_blocks(self, x: Tensor, biases: list[Bias]) -> Tensor:
        height, width = x.shape[2:4]
        rows, cols = self.config.window, self.config.window // 2
        down, right = self.config.stride, max(1, self.config.stride // 2)  # squeezed
        high, wide = -(-height // down) * down, -(-width // right) * right
        top, left = (rows - down) // 2, (cols - right) // 2
        x = F.pad(x, (0, 0, left, wide + cols - right - width - left, top, high + rows - down - height - top))
        windows = x.unfold(2, rows, down).unfold(3, cols, right)  # (B, P, nH, nW, d, rows, cols)
        lines = []
        for line in windows.unbind(2):  # one row of windows at a time: all at once exceed the memory at stride 1
            inside = line.permute(0, 2, 1, 4, 5, 3).flatten(0, 1)  # (B * nW, P, rows, cols, d)
            middle = super()._run_blocks(inside, biases)[:, :, top : top + down, left : left + right]
            middle = middle.unflatten(0, (len(x), -1))  # (B, nW, P, down, right, d)
            lines.append(middle.permute(0, 2, 3, 1, 4, 5).flatten(3, 4))  # (B, P, down, nW * right, d)
        return torch.cat(lines, 2)[:, :, :height, :width]


class SerialContext(ContextModel):
    """Serial model (Contextformer): a step is one token, (segment, position), in scan order down the columns of y.

    Its window is K rows and K / 2 columns of every segment, with the position in the last column: the part of a K x K
    window round it that is coded. A token is predicted at the one coded before it in this window.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.shifted = False
        rows, cols = config.window, config.window // 2
        index = torch.arange(config.segments * rows * cols, device="cpu").view(config.segments, rows, cols)
        scan = index.permute(0, 2, 1) if config.order == "sfo" else index.permute(2, 1, 0)
        order = scan.flatten().argsort()  # window token -> its place in the scan
        # of each segment's target token, the window token coded before it
        self.before = scan.flatten()[order[index[:, rows // 2, cols - 1]] - 1].tolist()
        self.order: Tensor
        self.register_buffer("order", order, persistent=False)

    def step_segments(self, height: int, width: int) -> list[int]:
        """Return the segment of each coding step, one token, of latents (height, width)."""
        segments = torch.arange(self.config.segments)[None, :, None, None].expand(1, -1, height, width)
        return self._scan(segments)[0].tolist()

    def tokens(self, y: Tensor) -> Tensor:
        """Rearrange y (B, M, H, W) to coding order (B, S * H * W, 1, 1, p)."""
        return self._scan(y.unflatten(1, (self.config.segments, -1)).movedim(2, -1))[:, :, None, None]

    def latents(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Invert `tokens`: put (B, S * H * W, 1, 1, p) back as (B, M, height, width)."""
        return self._unscan(tokens[:, :, 0, 0], height, width).movedim(-1, 2).flatten(1, 2)

    def masked(self, tokens: Tensor, features: Tensor, rate_bias: Tensor) -> Mixture:
        """Return every token's mixture (B, S * H * W, 1, 1, k, p), from the window of each position."""
        x = self._embedded(self._unscan(tokens[:, :, 0, 0], *features.shape[2:]), rate_bias)
        windows = x.unfold(2, self.config.window, 1).unfold(3, self.config.window // 2, 1)
        windows = windows.permute(0, 2, 3, 1, 5, 6, 4).flatten(0, 2)  # (B * H * W, S, rows, cols, d)
        biases = self._biases(features)
        parts = [self._targets(part, biases) for part in windows.split(WINDOWS_AT_ONCE)]
        context = torch.cat(parts).unflatten(0, (len(x), -1)).transpose(1, 2)  # (B, S, H * W, d)
        return self._mixtures(features, context[:, :, None])

    def without_context(self, features: Tensor) -> Mixture:
        """Return every token's mixture (B, S * H * W, 1, 1, k, p) from hyper-features (B, F, H, W) alone."""
        return self._mixtures(features, None)

    def _mixtures(self, features: Tensor, context: Tensor | None) -> Mixture:
        """Return every token's mixture (B, S * H * W, 1, 1, k, p) from its context (B, S, 1, H * W, d)."""
        by_segment = features.flatten(2).mT[:, None, None].expand(-1, self.config.segments, -1, -1, -1)
        mixture = self.head(by_segment, context, list(range(self.config.segments)))  # each (B, S, 1, H * W, k, p)
        size = features.shape[2:]
        return Mixture(*(self._scan(t[:, :, 0].unflatten(2, size))[:, :, None, None] for t in mixture))

    def start(self, features: Tensor, rate_bias: Tensor) -> CodingState:  # noqa: ARG002  (nothing is embedded yet)
        """Return the state before the first token, from hyper-features (B, F, H, W)."""
        segments, half = self.config.segments, self.config.window // 2
        height, width = features.shape[2] + 2 * half - 1, features.shape[3] + half - 1
        planes = features.new_zeros(len(features), segments, height, width, self.config.context_width)
        state = CodingState(features, self._biases(features), [], planes, None, 0)
        return self._with_context(state)

    def mixture(self, state: CodingState) -> Mixture:
        """Return the parameters (B, 1, 1, 1, k, p) of the token that is coded next."""
        segment, row, column = self._position(state)
        return self.head(state.features[:, None, None, None, :, row, column], state.context, [segment])

    def step(self, state: CodingState, token: Tensor, rate_bias: Tensor) -> CodingState:
        """Return the next state, given the token (B, 1, 1, 1, p) and `rate_bias` (B, d_e)."""
        assert state.planes is not None
        segment, row, column = self._position(state)
        planes = state.planes.clone()
        embedded = self.embed(token, [segment]) + self.plane[segment] + rate_bias[:, None, None, None]
        planes[:, segment, row + self.config.window // 2, column + self.config.window // 2 - 1] = embedded[:, 0, 0, 0]
        coded = replace(state, planes=planes, group=state.group + 1)
        if coded.group == self.config.segments * state.features[0, 0].numel():
            return coded
        return self._with_context(coded)

    def _with_context(self, state: CodingState) -> CodingState:
        """Return the state with the context of the next token, from its window."""
        assert state.planes is not None
        segment, row, column = self._position(state)
        rows, cols = self.config.window, self.config.window // 2
        window = state.planes[:, :, row : row + rows, column : column + cols]
        return replace(state, context=self._targets(window, state.biases)[:, segment, None, None, None])

    def _targets(self, windows: Tensor, biases: list[Bias]) -> Tensor:
        """Run windows (N, S, rows, cols, d) to the context (N, S, d) of each segment's token at their position."""
        return self.norm(pick(self._run_blocks(windows, biases).flatten(1, 3), self.before, 1))

    def _embedded(self, tokens: Tensor, rate_bias: Tensor) -> Tensor:
        """Embed tokens (B, S, H, W, p) as (B, S, H + K - 1, W + K / 2 - 1, d), zero outside the picture."""
        segments, half = self.config.segments, self.config.window // 2
        x = self.embed(tokens, list(range(segments))) + self.plane[:segments] + rate_bias[:, None, None, None]
        return F.pad(x, (0, 0, half - 1, 0, half, half - 1))

    def _biases(self, features: Tensor) -> list[Bias]:  # noqa: ARG002  (all windows are alike)
        causal = torch.where(self.order[None, :] <= self.order[:, None], 0.0, MASKED)
        return [Bias(block.relative.learned(len(causal)) + causal) for block in self.blocks]

    def _position(self, state: CodingState) -> tuple[int, int, int]:
        """Return segment, row and column of the token that is coded next."""
        height, width = state.features.shape[2:]
        if self.config.order == "sfo":
            segment, position = divmod(state.group, height * width)
        else:
            position, segment = divmod(state.group, self.config.segments)
        column, row = divmod(position, height)
        return segment, row, column

    def _scan(self, x: Tensor) -> Tensor:
        """Flatten x (B, S, H, W, ...) to coding order (B, S * H * W, ...)."""
        ordered = x.movedim(3, 2) if self.config.order == "sfo" else x.transpose(1, 3)
        return ordered.flatten(1, 3)

    def _unscan(self, x: Tensor, height: int, width: int) -> Tensor:
        """Invert `_scan`: put x (B, S * H * W, ...) back as (B, S, height, width, ...)."""
        if self.config.order == "sfo":
            return x.unflatten(1, (-1, width, height)).movedim(2, 3)
        return x.unflatten(1, (width, height, -1)).transpose(1, 3)


def _add_planes(x: Tensor, count: int) -> Tensor:
    """Append `count` empty planes to x (B, n, H, W, d)."""
    return F.pad(x, (0, 0, 0, 0, 0, 0, 0, count))
