"""Windows, masks and blocks of the attention, against brute force and against each other."""

import pytest
import torch

from codec.networks.attention import MASKED, Block, Cache, Windows

GRIDS = [(1, 1), (8, 4), (5, 3), (9, 4), (16, 8), (13, 11)]
SHIFTS = [(0, 0), (4, 2)]
PLANES = 3


def random_block(shifted: bool, planes: int = PLANES) -> Block:
    torch.manual_seed(3)
    block = Block(16, 2, 2, planes, 8, shifted).requires_grad_(False).eval()
    block.relative.table.normal_()
    return block


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_merge_undoes_split(height: int, width: int, shift: tuple[int, int]) -> None:
    grid = Windows(height, width, 8, 4, *shift)
    x = torch.randn(2, PLANES, height, width, 5)
    windows = grid.split(x)
    assert windows.shape == (2, -(-height // 8) * -(-width // 4), PLANES * 32, 5)
    assert torch.equal(grid.merge(windows), x)


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_mask_shows_what_shares_an_unwrapped_window(height: int, width: int, shift: tuple[int, int]) -> None:
    mask = Windows(height, width, 8, 4, *shift).mask(torch.device("cpu"))
    high, wide = -(-height // 8) * 8, -(-width // 4) * 4
    regions = []  # of every token in the order of `split`: None for padding, else which wrapped borders it crossed
    for top in range(0, high, 8):
        for left in range(0, wide, 4):
            window: list[tuple[bool, bool] | None] = []
            for row in range(top, top + 8):
                for column in range(left, left + 4):
                    r, c = (row + shift[0]) % high, (column + shift[1]) % wide
                    window.append((r < row, c < column) if r < height and c < width else None)
            regions.append(window)
    sees = torch.tensor([[[a is not None and a == b for b in window] for a in window] for window in regions])
    if mask is None:
        assert bool(sees.all())
    else:
        assert torch.equal(mask, torch.where(sees, 0.0, MASKED))


@pytest.mark.parametrize("shifted", [False, True])
def test_relative_bias_depends_on_the_offset_alone_and_hides_later_planes(shifted: bool) -> None:
    bias = random_block(shifted).relative(PLANES * 32)[0].unflatten(0, (PLANES, 8, 4)).unflatten(-1, (PLANES, 8, 4))
    assert bool((bias[0, :, :, 1] < MASKED / 2).all()) and bool((bias[1, :, :, :2] > MASKED / 2).all())
    assert bias[2, 3, 2, 1, 1, 1] == bias[1, 5, 3, 0, 3, 2]  # a plane back, two rows and a column down
    offsets = [bias[2, 3, 2, 1, 1, 1], bias[2, 3, 2, 2, 1, 1], bias[2, 3, 2, 1, 2, 1], bias[2, 3, 2, 1, 1, 2]]
    assert len({float(b) for b in offsets}) == 4


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_planes_one_by_one_are_planes_at_once(height: int, width: int, shifted: bool, batch: int) -> None:
    block = random_block(shifted)
    x = torch.randn(batch, PLANES, height, width, 16)
    bias = block.bias(PLANES, height, width)
    at_once = block(x, bias)
    cache: Cache | None = None
    for plane in range(PLANES):
        alone, cache = block.step(x[:, plane : plane + 1], bias, cache)
        torch.testing.assert_close(alone, at_once[:, plane : plane + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(5, 3), (13, 11)])
@pytest.mark.parametrize("shifted", [False, True])
def test_later_planes_never_alter_earlier_ones(height: int, width: int, shifted: bool) -> None:
    block = random_block(shifted)
    x = torch.randn(1, PLANES, height, width, 16)
    bias = block.bias(PLANES, height, width)
    before = block(x, bias)
    for plane in range(PLANES):
        changed = x.clone()
        changed[:, plane] = torch.randn(1, height, width, 16) * 5
        after = block(changed, bias)
        torch.testing.assert_close(after[:, :plane], before[:, :plane], atol=1e-6, rtol=0)
        later = (after - before)[:, plane:].abs().amax((0, 2, 3, 4))
        assert bool((later > 1e-2).all()), "nothing is seen of the changed plane"


def test_attention_stays_in_its_window_and_shifted_blocks_join_neighbours() -> None:
    x = torch.randn(1, PLANES, 16, 8, 16)
    changed = x.clone()
    changed[:, :, 7, 3] += torch.randn(16)  # last position of the first window
    reached = []
    for shifted in (False, True):
        block = random_block(shifted)
        bias = block.bias(PLANES, 16, 8)
        moved = (block(changed, bias) - block(x, bias)).abs().amax((0, 1, 4)) > 1e-6
        rows, columns = moved.nonzero().unbind(1)
        reached.append((int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())))
    assert reached == [(0, 7, 0, 3), (4, 11, 2, 5)]
