"""Mixed batches: shares of rows, functions of seed and step, and changes of colour that do what they say."""

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.training.dataset import DeviceCrops
from codec.training.mixing import MixedCrops, _hue, _saturation, change_colours, draw_changes, mixed_source
from codec.training.schedule import TrainConfig

CPU = torch.device("cpu")
ALL = slice(None)


@pytest.fixture(scope="module")
def photos(photo: Callable[..., NDArray[np.uint8]]) -> DeviceCrops:
    return DeviceCrops([photo(80, 130, 1), photo(70, 64, 2)], CPU)


@pytest.fixture(scope="module")
def graphics() -> DeviceCrops:
    return DeviceCrops([np.full((64, 64, 3), level, np.uint8) for level in (1, 254)], CPU)


def kinds(mixed: torch.Tensor, photos: torch.Tensor) -> tuple[int, int]:
    """Count rows that are flat, as the graphics here are, and rows that are photographs of other colours."""
    flat = mixed.flatten(1).amax(1) == mixed.flatten(1).amin(1)
    changed = (mixed != photos).flatten(1).any(1) & ~flat
    return int(flat.sum()), int(changed.sum())


def test_shares_hold_on_average_and_other_rows_stay(photos: DeviceCrops, graphics: DeviceCrops) -> None:
    source, found = MixedCrops(photos, graphics, 0.3, 0.15), np.zeros(2)
    for step in range(200):
        mixed, plain = source.crops(64, 4, 7, step, ALL), photos.crops(64, 4, 7, step, ALL)
        assert mixed.dtype == torch.uint8 and mixed.is_contiguous(memory_format=torch.channels_last)
        count = kinds(mixed, plain)
        assert count[0] in (1, 2) and count[1] in (0, 1)
        found += count
    assert found / 800 == pytest.approx([0.3, 0.15], abs=0.03)


def test_processes_share_one_mixed_batch_and_steps_repeat(photos: DeviceCrops, graphics: DeviceCrops) -> None:
    source = MixedCrops(photos, graphics, 0.4, 0.4)
    for step in range(8):
        whole = source.crops(64, 6, 1, step, ALL)
        parts = [source.crops(64, 6, 1, step, slice(rank, None, 3)) for rank in range(3)]
        assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)
        assert torch.equal(source.crops(64, 6, 1, step, ALL), whole)


@pytest.mark.parametrize(("graphics_share", "recolour_share"), [(1, 0), (0, 1), (0.5, 0.5)])
def test_whole_batches_may_be_replaced(
    photos: DeviceCrops, graphics: DeviceCrops, graphics_share: float, recolour_share: float
) -> None:
    source = MixedCrops(photos, graphics, graphics_share, recolour_share)
    flat, changed = kinds(source.crops(64, 8, 0, 0, ALL), photos.crops(64, 8, 0, 0, ALL))
    assert flat == 8 * graphics_share and changed <= 8 * recolour_share  # a change may be none


def test_without_shares_the_source_is_that_of_photographs(photos: DeviceCrops) -> None:
    assert mixed_source(photos, TrainConfig(), CPU) is photos


def test_sheets_are_as_large_as_the_largest_crop(photos: DeviceCrops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.training.mixing.SHEETS", 2)
    mixed = mixed_source(photos, TrainConfig(crop=576, graphics_share=0.1), CPU)
    assert isinstance(mixed, MixedCrops) and mixed.graphics.sides.tolist() == [[576, 576]] * 2


def change(matrix: NDArray[np.float64], offset: float = 0, gamma: float = 1, levels: float = 256) -> torch.Tensor:
    return torch.tensor([[*matrix.ravel(), offset, offset, offset, gamma, levels]], dtype=torch.float32)


def test_no_change_is_exact() -> None:
    x = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, -1)
    assert torch.equal(change_colours(x, change(np.eye(3))), x)


def test_changes_are_permutation_inversion_gamma_and_levels() -> None:
    x = torch.tensor([10, 100, 200], dtype=torch.uint8)[None, :, None, None]
    swapped = change_colours(x, change(np.eye(3)[[2, 0, 1]]))
    assert swapped.flatten().tolist() == [200, 10, 100]
    assert change_colours(x, change(-np.eye(3), 1)).flatten().tolist() == [245, 155, 55]
    squared = change_colours(x, change(np.eye(3), gamma=2)).flatten().tolist()
    assert squared == [round(v * v / 255) for v in (10, 100, 200)]
    assert change_colours(x, change(np.eye(3), levels=3)).flatten().tolist() == [0, 128, 255]


def test_hue_turns_and_saturation_leaves_greys() -> None:
    red = np.array([1.0, 0, 0])
    assert _hue(2 * np.pi / 3) @ red == pytest.approx([0, 1, 0])
    assert colorsys.rgb_to_hsv(*np.clip(_saturation(0.5) @ red, 0, 1))[1] < 1
    grey = np.full(3, 0.4)
    for matrix in (_hue(1.0), _saturation(3.0), _saturation(0.0)):
        assert matrix @ grey == pytest.approx(grey)
    assert _saturation(0.0) @ red == pytest.approx(np.full(3, 0.299))


def test_drawn_changes_saturate_muted_photographs(photos: DeviceCrops) -> None:
    x = photos.crops(64, 64, 0, 0, ALL) // 2 + 64
    changed = change_colours(x, torch.from_numpy(draw_changes(64, np.random.default_rng(0))).float()).int()
    spread, before = (v.amax(1) - v.amin(1) for v in (changed, x.int()))
    assert before.max() < 128 and (spread > 200).float().mean() > 0.05
    assert ((changed == 0) | (changed == 255)).float().mean() > 0.05
