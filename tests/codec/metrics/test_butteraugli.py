"""Butteraugli against libjxl's tool, against stored distances of it, and as something to optimise."""

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.metrics import butteraugli as module
from codec.metrics.butteraugli import LineEnergy, butteraugli, distance_map, norm, prepare
from codec.metrics.frequency_bands import blur

Bytes = NDArray[np.uint8]
TOLERANCE = 0.05  # relative; the tool approximates logarithms and Gaussians
KERNELS = {"dense": module.DENSE_LINES, "sparse": module.SPARSE_LINES}


def scene(height: int = 97, width: int = 130) -> Bytes:
    """Slopes, a disc, stripes and texture in colours, uint8 (H, W, 3)."""
    rows, columns = np.mgrid[:height, :width]
    texture = np.random.default_rng(3).normal(scale=12, size=(height, width, 1)) * (columns > width / 2)[..., None]
    stripes = 30 * np.sin(columns / 2.5)[..., None] * (rows > height / 2)[..., None]
    disc = 60.0 * (np.hypot(rows - 40, columns - 40) < 22)[..., None] * np.array([1, -0.3, -1])
    base = np.stack([70 + rows, 90 + columns / 2, 140 - rows / 2], 2)
    return (base + texture + stripes + disc).round().clip(0, 255).astype(np.uint8)


def noisy(image: Bytes, deviation: float) -> Bytes:
    noise = np.random.default_rng(1).normal(scale=deviation, size=image.shape)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def jpeg(image: Bytes, quality: int) -> Bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(file))


def blocks(image: Bytes) -> Bytes:
    """Every 8x8 block by its mean."""
    height, width = (side // 8 * 8 for side in image.shape[:2])
    means = image[:height, :width].reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3))
    decoded = image.copy()
    decoded[:height, :width] = means.round().astype(np.uint8).repeat(8, 0).repeat(8, 1)
    return decoded


DAMAGES: dict[str, tuple[Callable[[Bytes], Bytes], float]] = {  # with the 3-norm of libjxl 0.7.0's butteraugli_main
    "faint noise": (lambda image: noisy(image, 1), 0.418),
    "noise": (lambda image: noisy(image, 8), 2.825),
    "blocks": (blocks, 5.671),
    "darker": (lambda image: (image * 0.9).astype(np.uint8), 10.791),
    "redder": (lambda image: (image * np.array([1, 0.96, 0.93])).astype(np.uint8), 3.627),
}


def distance(original: Bytes, decoded: Bytes) -> float:
    found = butteraugli(Pixels(original, grey=False), Pixels(decoded, grey=False))
    assert found is not None
    return found


def tensor(image: Bytes) -> torch.Tensor:
    return to_tensor(Pixels(image, grey=False))


@pytest.mark.parametrize("name", DAMAGES)
def test_distances_are_those_stored(name: str) -> None:
    damage, expected = DAMAGES[name]
    assert distance(scene(), damage(scene())) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.skipif(not shutil.which("butteraugli_main"), reason="libjxl's butteraugli_main is not installed")
@pytest.mark.parametrize("damage", [*(damage for damage, _ in DAMAGES.values()), lambda image: jpeg(image, 30)])
@pytest.mark.parametrize("size", [(97, 130), (64, 200)])
def test_distances_are_those_of_the_tool(
    damage: Callable[[Bytes], Bytes], size: tuple[int, int], tmp_path: Path
) -> None:
    original, decoded = scene(*size), damage(scene(*size))
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, image in zip(paths, (original, decoded), strict=True):
        Image.fromarray(image).save(path)
    printed = subprocess.run(["butteraugli_main", *paths], capture_output=True, text=True, check=True).stdout
    assert distance(original, decoded) == pytest.approx(float(printed.split()[-1]), rel=TOLERANCE)


def test_identical_pictures_have_distance_0_and_no_gradient() -> None:
    x = tensor(scene())
    x_hat = x.clone().requires_grad_()
    found = norm(x_hat, prepare(x))
    assert float(found.detach()) == 0
    found.sum().backward()
    assert x_hat.grad is not None and float(x_hat.grad.abs().max()) == 0


def test_a_batch_is_as_many_pictures_and_any_of_them_can_be_taken() -> None:
    originals = [scene(), scene()[::-1].copy()]
    decoded = [noisy(originals[0], 6), blocks(originals[1])]
    x, x_hat = (torch.cat([tensor(image) for image in images]) for images in (originals, decoded))
    reference = prepare(x)
    together = norm(x_hat, reference)
    alone = torch.cat([norm(tensor(b), prepare(tensor(a))) for a, b in zip(originals, decoded, strict=True)])
    assert torch.allclose(together, alone, rtol=1e-4)
    second = tuple(original.of_images([1]) for original in reference)
    assert torch.allclose(norm(x_hat[1:], second), alone[1:], rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 60), (331, 40), (130, 200)])
@pytest.mark.parametrize("side", [64, 1024])
def test_blocks_give_the_distance_of_the_whole(monkeypatch, height: int, width: int, side: int) -> None:
    monkeypatch.setattr(module, "BLOCK", side)
    image = scene(height, width)
    decoded = noisy(image, 6)
    whole = float(norm(tensor(decoded), prepare(tensor(image))))
    assert distance(image, decoded) == pytest.approx(whole, rel=1e-4)


def test_a_gradient_step_lowers_the_distance() -> None:
    x = tensor(scene())
    x_hat = tensor(noisy(scene(), 6)).requires_grad_()
    for halvings in ((0, 1), (1,)):
        reference = prepare(x, halvings)
        before = norm(x_hat, reference)
        (gradient,) = torch.autograd.grad(before.sum(), x_hat)
        assert gradient.isfinite().all()
        with torch.no_grad():
            assert norm(x_hat - 0.01 * gradient / gradient.abs().max(), reference) < before


@pytest.mark.parametrize(("side", "sizes"), [(8, 1), (14, 1), (15, 2), (40, 2)])
def test_small_pictures_are_compared_at_their_own_size(side: int, sizes: int) -> None:
    x = tensor(scene()[:side, : side + 3])
    assert len(prepare(x)) == sizes and len(prepare(x, halvings=(1,))) == 1
    distances = distance_map(1 - x, prepare(x))
    assert distances.shape == (1, side, side + 3) and bool((distances > 0).all())


def test_too_small_a_picture_has_no_distance() -> None:
    tiny = scene()[:7, :40]
    assert butteraugli(Pixels(tiny, grey=False), Pixels(tiny, grey=False)) is None
    with pytest.raises(ConfigError, match="sides of 8 pixels"):
        prepare(tensor(tiny))


@pytest.mark.parametrize("lines", KERNELS)
def test_line_sums_pass_the_gradient_of_their_definition(lines: str) -> None:
    planes = torch.rand(2, 1, 11, 13, dtype=torch.float64, requires_grad=True)
    kernels = module._kernels(KERNELS[lines], planes.dtype, planes.device)
    assert torch.autograd.gradcheck(lambda given: LineEnergy.apply(given, kernels), (planes,))


def test_blurring_passes_the_gradient_of_its_definition_and_keeps_a_flat_plane() -> None:
    planes = torch.rand(1, 2, 12, 17, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: blur(given, 3.2), (planes,))
    assert torch.allclose(blur(torch.full((1, 1, 9, 40), 3.0), 7.2), torch.tensor(3.0))
