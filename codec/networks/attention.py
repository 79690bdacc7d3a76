"""Window and shifted-window spatio-channel attention (W-SCA, SW-SCA) over planes of squeezed tokens.

A window holds K x K/2 positions of *every* plane at once; a token attends to the tokens of its own and of earlier
planes there (block-causal), never to later ones. Alternate blocks shift the windows by half their size, cyclically as
in Swin (arXiv:2103.14030), with a mask that keeps wrapped borders and padding apart. Since a plane never sees a later
one, keys and values of coded planes can be kept (`Cache`) and one step costs one plane of queries.

Source: eContextformer (arXiv:2306.14287), spatio-channel attention and key-value caching.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -1e4  # finite: a fully masked row stays a number, and exp(-1e4) is 0 in fp32


class Windows(NamedTuple):
    """How planes of (H, W) squeezed tokens are cut into windows of `rows` x `cols`, shifted by (down, right)."""

    height: int
    width: int
    rows: int
    cols: int
    down: int
    right: int

    @property
    def pad(self) -> tuple[int, int]:
        """Rows and columns to add so that whole windows fit."""
        return -self.height % self.rows, -self.width % self.cols

    def split(self, x: Tensor) -> Tensor:
        """(B, P, H, W, d) -> (B, nW, P * rows * cols, d), plane-major inside a window."""
        pad_h, pad_w = self.pad
        if pad_h or pad_w:
            x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
        if self.down:
            x = x.roll((-self.down, -self.right), (2, 3))
        x = x.unflatten(3, (-1, self.cols)).unflatten(2, (-1, self.rows))  # (B, P, nH, rows, nW, cols, d)
        return x.permute(0, 2, 4, 1, 3, 5, 6).flatten(3, 5).flatten(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """Inverse of `split`: (B, nW, P * rows * cols, d) -> (B, P, H, W, d)."""
        x = x.unflatten(2, (-1, self.rows, self.cols))
        x = x.unflatten(1, (-(-self.height // self.rows), -1))  # (B, nH, nW, P, rows, cols, d)
        x = x.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)
        if self.down:
            x = x.roll((self.down, self.right), (2, 3))
        return x[:, :, : self.height, : self.width]

    def mask(self, device: torch.device) -> Tensor | None:
        """Additive mask (nW, S, S), S = rows * cols, over positions that are neither padding nor wrapped.

        None where nothing needs masking: unshifted whole windows.
        """
        if not self.down and self.pad == (0, 0):
            return None
        region = torch.ones(self.height, self.width, device=device)  # padding by `split` is 0
        region[: self.down] += 1  # rows that the shift wraps round to the last windows
        region[:, : self.right] += 2
        places = self.split(region[None, None, ..., None])[0, ..., 0]  # (nW, S)
        query, key = places[:, :, None], places[:, None, :]
        return torch.where((query == key) & (key > 0), 0.0, MASKED)


class Bias(NamedTuple):
    """What is added to the scores of attention inside a window of T tokens, T = planes * S.

    Attributes:
        learned: (heads, T, T), by offset, later planes masked.
        mask: (nW, S, S), for every plane alike; None where no window holds padding or wrapped borders.
    """

    learned: Tensor
    mask: Tensor | None = None

    def rows(self, first: int, last: int) -> Tensor:
        """Of the tokens first..last, whole planes, to all before `last`: (1 or nW, heads, last - first, last)."""
        rows = self.learned[None, :, first:last, :last]
        if self.mask is None:
            return rows
        by_plane = rows.unflatten(3, (-1, self.mask.shape[2])).unflatten(2, (-1, self.mask.shape[1]))
        return (by_plane + self.mask[:, None, None, :, None, :]).flatten(4, 5).flatten(2, 3)


class Cache(NamedTuple):
    """Keys and values (B, nW, heads, T, d_h) of a block, with room for all planes; the first `seen` tokens are there.

    A longer cache shares the storage of the one that it grew from: each grows once.
    """

    key: Tensor
    value: Tensor
    seen: int

    @classmethod
    def empty(cls, like: Tensor, room: int) -> "Cache":
        """Room for as many tokens, for keys and values like these (B, nW, heads, T, d_h)."""
        shape = (*like.shape[:3], room, like.shape[4])
        return cls(like.new_empty(shape), like.new_empty(shape), 0)

    def grown(self, key: Tensor, value: Tensor) -> "Cache":
        """With one more plane (B, nW, heads, T, d_h) behind those that are there."""
        seen = self.seen + key.shape[3]
        for kept, new in ((self.key, key), (self.value, value)):
            kept[:, :, :, self.seen : seen] = new
        return self._replace(seen=seen)


class RelativeBias(nn.Module):
    """Learned bias for each head and each offset (planes back, rows, columns) inside a window."""

    index: Tensor
    causal: Tensor

    def __init__(self, heads: int, planes: int, rows: int, cols: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(heads, planes * (2 * rows - 1) * (2 * cols - 1)))
        nn.init.trunc_normal_(self.table, std=0.02)
        axes = torch.meshgrid(torch.arange(planes), torch.arange(rows), torch.arange(cols), indexing="ij")
        plane, row, col = (a.flatten() for a in axes)
        back = plane[:, None] - plane[None, :]  # >= 0 for what a query may see
        offset = (row[:, None] - row[None, :] + rows - 1) * (2 * cols - 1) + col[:, None] - col[None, :] + cols - 1
        index = back.clamp(min=0) * (2 * rows - 1) * (2 * cols - 1) + offset
        self.register_buffer("index", index, persistent=False)
        causal = torch.where(back >= 0, 0.0, MASKED)
        self.register_buffer("causal", causal, persistent=False)

    def forward(self, tokens: int) -> Tensor:
        """(heads, T, T) bias of the first `tokens` tokens of a window, block-causal mask included."""
        return self.learned(tokens) + self.causal[:tokens, :tokens]

    def learned(self, tokens: int) -> Tensor:
        """The same without the mask; later planes have the bias of a token's own plane."""
        index = self.index[:tokens, :tokens]
        return self.table.index_select(1, index.flatten()).unflatten(1, index.shape)


class Block(nn.Module):
    """One pre-norm transformer block over planes (B, P, H, W, d): windowed attention, then a GELU MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, planes: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = heads, window, shifted
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))
        self.relative = RelativeBias(heads, planes, window, window // 2)

    def windows(self, height: int, width: int) -> Windows:
        """The window grid of this block for planes of (height, width) squeezed tokens."""
        rows, cols = self.window, self.window // 2
        return Windows(height, width, rows, cols, rows // 2 * self.shifted, cols // 2 * self.shifted)

    def bias(self, planes: int, height: int, width: int) -> Bias:
        """Of attention over at most so many planes of (height, width) squeezed tokens."""
        grid = self.windows(height, width)
        return Bias(self.relative(planes * grid.rows * grid.cols), grid.mask(self.qkv.weight.device))

    def forward(self, x: Tensor, bias: Bias) -> Tensor:
        """The first planes at once, (B, P, H, W, d) -> the same."""
        grid = self.windows(x.shape[2], x.shape[3])
        query, key, value = self._project(x, grid)
        return self._finish(x, _attend(query, key, value, bias.rows(0, key.shape[3])), grid)

    def step(self, x: Tensor, bias: Bias, cache: Cache | None) -> tuple[Tensor, Cache]:
        """One more plane x (B, 1, H, W, d) against the kept ones: its output and the grown cache."""
        grid = self.windows(x.shape[2], x.shape[3])
        query, key, value = self._project(x, grid)
        before = cache or Cache.empty(key, bias.learned.shape[1])
        after = before.grown(key, value)
        key, value = (kept[:, :, :, : after.seen] for kept in (after.key, after.value))
        attended = _attend(query, key, value, bias.rows(before.seen, after.seen))
        return self._finish(x, attended, grid), after

    def _project(self, x: Tensor, grid: Windows) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, nW, heads, T, d_h)."""
        windows = self.qkv(grid.split(self.norm_attention(x)))  # (B, nW, T, 3d)
        query, key, value = windows.unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        return query, key, value

    def _finish(self, x: Tensor, attended: Tensor, grid: Windows) -> Tensor:
        """Heads back to planes, residual, MLP."""
        x = x + self.project(grid.merge(attended.transpose(2, 3).flatten(3)))  # (B, nW, heads, T, d_h) -> planes
        return x + self.mlp(self.norm_mlp(x))


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention over (B, nW, heads, T, d_h); `bias` broadcasts over the batch."""
    batch = query.shape[0]
    if bias.shape[0] > 1 and batch > 1:
        bias = bias.repeat(batch, 1, 1, 1)
    query, key, value = (t.flatten(0, 1) for t in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias).unflatten(0, (batch, -1))
