"""Window and shifted-window spatio-channel attention (W-SCA, SW-SCA) over planes of squeezed tokens.

A window holds K x K/2 positions of *every* plane at once; a token attends to the tokens of its own and of earlier
planes there (block-causal), never to later ones. Alternate blocks shift the windows by half their size, cyclically as
in Swin (arXiv:2103.14030), with a mask that keeps wrapped borders and padding apart. Since no plane attends to a later
one, keys and values of coded planes are cached (`Cache`) and one coding step costs one plane of queries.

B is the batch, P planes, nW windows, T tokens of a window, d channels, d_h channels of a head.

Source: eContextformer (arXiv:2306.14287), spatio-channel attention and key-value caching.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -1e4  # finite, so that a fully masked row has no NaN; exp(-1e4) is 0 in fp32


class Windows(NamedTuple):
    """Window grid: planes of (height, width) squeezed tokens cut into rows x cols, shifted by (down, right) tokens."""

    height: int
    width: int
    rows: int
    cols: int
    down: int
    right: int

    @property
    def pad(self) -> tuple[int, int]:
        """Rows and columns of padding that complete the last windows."""
        return -self.height % self.rows, -self.width % self.cols

    def split(self, x: Tensor) -> Tensor:
        """Cut x (B, P, H, W, d) into windows (B, nW, P * rows * cols, d), plane-major inside a window."""
        pad_h, pad_w = self.pad
        if pad_h or pad_w:
            x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
        if self.down:
            x = x.roll((-self.down, -self.right), (2, 3))
        x = x.unflatten(3, (-1, self.cols)).unflatten(2, (-1, self.rows))  # (B, P, nH, rows, nW, cols, d)
        return x.permute(0, 2, 4, 1, 3, 5, 6).flatten(3, 5).flatten(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """Invert `split`: put windows (B, nW, P * rows * cols, d) together as planes (B, P, H, W, d)."""
        x = x.unflatten(2, (-1, self.rows, self.cols))
        x = x.unflatten(1, (-(-self.height // self.rows), -1))  # (B, nH, nW, P, rows, cols, d)
        x = x.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)
        if self.down:
            x = x.roll((self.down, self.right), (2, 3))
        return x[:, :, : self.height, : self.width]

    def mask(self, device: torch.device) -> Tensor | None:
        """Return the additive mask (nW, S, S), S = rows * cols, that keeps padding and wrapped positions apart.

        None where nothing needs masking: unshifted windows without padding.
        """
        if not self.down and self.pad == (0, 0):
            return None
        region = torch.ones(self.height, self.width, device=device)  # padding by `split` is 0
        region[: self.down] += 1  # rows that the shift wraps into the last windows
        region[:, : self.right] += 2
        places = self.split(region[None, None, ..., None])[0, ..., 0]  # (nW, S)
        query, key = places[:, :, None], places[:, None, :]
        return torch.where((query == key) & (key > 0), 0.0, MASKED)


class Bias(NamedTuple):
    """Additive bias of the attention scores inside a window of T = P * S tokens.

    Attributes:
        learned: (heads, T, T), learned for each offset, with later planes masked.
        mask: (nW, S, S), the same for every plane; None where no window holds padding or wrapped borders.
    """

    learned: Tensor
    mask: Tensor | None = None

    def rows(self, first: int, last: int) -> Tensor:
        """Return the bias of queries first..last for all keys before `last`, (1 or nW, heads, last - first, last).

        Both ends lie between planes.
        """
        rows = self.learned[None, :, first:last, :last]
        if self.mask is None:
            return rows
        by_plane = rows.unflatten(3, (-1, self.mask.shape[2])).unflatten(2, (-1, self.mask.shape[1]))
        return (by_plane + self.mask[:, None, None, :, None, :]).flatten(4, 5).flatten(2, 3)


class Cache(NamedTuple):
    """Keys and values (B, nW, heads, T, d_h) of a block, allocated for all planes; the first `seen` tokens are filled.

    An extended cache shares the storage of the one it extends, so each may be extended once only.
    """

    key: Tensor
    value: Tensor
    seen: int

    @classmethod
    def empty(cls, like: Tensor, room: int) -> "Cache":
        """Allocate `room` tokens, in the shape, dtype and device of keys `like` (B, nW, heads, T, d_h)."""
        shape = (*like.shape[:3], room, like.shape[4])
        return cls(like.new_empty(shape), like.new_empty(shape), 0)

    def extended(self, key: Tensor, value: Tensor) -> "Cache":
        """Append keys and values of one plane, (B, nW, heads, T, d_h) each."""
        seen = self.seen + key.shape[3]
        for stored, new in ((self.key, key), (self.value, value)):
            stored[:, :, :, self.seen : seen] = new
        return self._replace(seen=seen)


class RelativeBias(nn.Module):
    """Relative position bias, learned for each head and each offset (planes back, rows, columns) inside a window."""

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
        """Return the bias (heads, T, T) of the first T = `tokens` tokens of a window, with the block-causal mask."""
        return self.learned(tokens) + self.causal[:tokens, :tokens]

    def learned(self, tokens: int) -> Tensor:
        """Return the bias (heads, T, T) of the first T = `tokens` tokens without the causal mask.

        Keys of later planes have the bias of the query's own plane.
        """
        index = self.index[:tokens, :tokens]
        return self.table.index_select(1, index.flatten()).unflatten(1, index.shape)


class Block(nn.Module):
    """Pre-norm transformer block over planes (B, P, H, W, d): windowed attention, then a GELU MLP."""

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
        """Return the window grid of this block for planes of (height, width) squeezed tokens."""
        rows, cols = self.window, self.window // 2
        return Windows(height, width, rows, cols, rows // 2 * self.shifted, cols // 2 * self.shifted)

    def bias(self, planes: int, height: int, width: int) -> Bias:
        """Return the attention bias for at most `planes` planes of (height, width) squeezed tokens."""
        grid = self.windows(height, width)
        return Bias(self.relative(planes * grid.rows * grid.cols), grid.mask(self.qkv.weight.device))

    def forward(self, x: Tensor, bias: Bias) -> Tensor:
        """Run all planes x (B, P, H, W, d) at once, giving (B, P, H, W, d)."""
        grid = self.windows(x.shape[2], x.shape[3])
        query, key, value = self._project(x, grid)
        return self._finish(x, _attend(query, key, value, bias.rows(0, key.shape[3])), grid)

    def step(self, x: Tensor, bias: Bias, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Run one more plane x (B, 1, H, W, d) against the cached ones; return its output and the extended cache."""
        grid = self.windows(x.shape[2], x.shape[3])
        query, key, value = self._project(x, grid)
        before = cache or Cache.empty(key, bias.learned.shape[1])
        after = before.extended(key, value)
        key, value = (stored[:, :, :, : after.seen] for stored in (after.key, after.value))
        attended = _attend(query, key, value, bias.rows(before.seen, after.seen))
        return self._finish(x, attended, grid), after

    def _project(self, x: Tensor, grid: Windows) -> tuple[Tensor, Tensor, Tensor]:
        """Project planes x (B, P, H, W, d) to queries, keys and values, each (B, nW, heads, T, d_h)."""
        windows = self.qkv(grid.split(self.norm_attention(x)))  # (B, nW, T, 3d)
        query, key, value = windows.unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        return query, key, value

    def _finish(self, x: Tensor, attended: Tensor, grid: Windows) -> Tensor:
        """Merge the heads (B, nW, heads, T, d_h) to planes, add them to x (B, P, H, W, d), and apply the MLP."""
        x = x + self.project(grid.merge(attended.transpose(2, 3).flatten(3)))  # (B, nW, heads, T, d_h) -> planes
        return x + self.mlp(self.norm_mlp(x))


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attend with softmax over (B, nW, heads, T, d_h), with `bias` (1 or nW, heads, T_query, T_key) for each image."""
    batch = query.shape[0]
    if bias.shape[0] > 1 and batch > 1:
        bias = bias.repeat(batch, 1, 1, 1)
    query, key, value = (t.flatten(0, 1) for t in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias).unflatten(0, (batch, -1))
