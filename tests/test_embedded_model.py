"""The embedded model does what the README promises of it, on a picture made here."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import codec
import rdo
from codec.checkpoint import installed_models
from codec.images.pixels import Pixels
from codec.model import Codec

Photo = Callable[..., NDArray[np.uint8]]
PARAMETERS_MAX = 4_000_000


@pytest.fixture(scope="module")
def small() -> Codec:
    return codec.load("small")


def test_small_is_installed_and_small(small: Codec) -> None:
    assert "small" in installed_models()
    assert sum(p.numel() for p in small.parameters()) <= PARAMETERS_MAX


@pytest.mark.parametrize("quality", [1.0, 4.0, 8.0])
def test_a_photo_like_picture_survives_coding(small: Codec, photo: Photo, quality: float) -> None:
    pixels = Pixels(photo(100, 150, 1), grey=False)
    data = codec.encode(small, pixels, quality)
    decoded = codec.decode(small, data).pixels
    error = np.mean((decoded.data.astype(float) - pixels.data) ** 2)
    assert 10 * np.log10(255**2 / error) > 24
    assert len(data) < pixels.data.size / 4


def test_refinement_gains_on_it(small: Codec, photo: Photo) -> None:
    x = codec.to_tensor(Pixels(photo(128, 128, 2), grey=False))
    refined = rdo.refine(small, x, 4.0, config=rdo.RefineConfig(iters=30))
    assert torch.all(refined.cost_est.total < 0.99 * refined.plain_cost_est.total)


def test_every_name_that_the_package_offers_is_there() -> None:
    assert all(getattr(codec, name) is not None for name in codec.__all__)
