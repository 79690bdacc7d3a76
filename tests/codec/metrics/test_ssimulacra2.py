"""SSIMULACRA 2 against the reference in Python, against stored scores of it, and as something to optimise."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

import codec.metrics.ssimulacra2
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.metrics.ssimulacra2 import prepare, raw, score_of, ssimulacra2

Bytes = NDArray[np.uint8]
SIZES = ((8, 8), (9, 23), (33, 41), (96, 160), (160, 96))
KODAK = os.environ.get("RDO_TEST_KODAK", "")  # folder of the 24 PNGs; without it those tests are skipped
DAMAGES: dict[str, Callable[[Bytes], Bytes]] = {
    "faint noise": lambda image: noisy(image, 0.7),
    "noise": lambda image: noisy(image, 6),
    "strong noise": lambda image: noisy(image, 25),
    "blur": lambda image: blurred(image, 1),
    "strong blur": lambda image: blurred(image, 4),
    "jpeg 15": lambda image: jpeg(image, 15),
    "jpeg 50": lambda image: jpeg(image, 50),
    "jpeg 90": lambda image: jpeg(image, 90),
    "darker": lambda image: (image * 0.9).astype(np.uint8),
}
# of the package ssimulacra2 0.3.0: they keep the test meaningful where it is absent
STORED = {
    ("texture", False, 33, 41): {
        "faint noise": 96.4,
        "noise": 72.96,
        "strong noise": -1.13,
        "blur": 66.98,
        "darker": 94.46,
    },
    ("texture", True, 9, 23): {
        "faint noise": 98.41,
        "noise": 90.75,
        "strong noise": 75.17,
        "blur": 92.63,
        "darker": 99.28,
    },
    ("gradient", False, 96, 160): {
        "faint noise": 83.7,
        "noise": -44.78,
        "strong noise": -253.6,
        "blur": 100.0,
        "darker": 88.84,
    },
    ("texture", False, 160, 96): {
        "faint noise": 89.3,
        "noise": -12.55,
        "strong noise": -103.96,
        "blur": -18.5,
        "darker": 82.73,
    },
}


def texture(height: int, width: int, grey: bool = False) -> Bytes:
    """Noise whose amplitude falls with frequency, as a photograph's does, uint8 (H, W, 3)."""
    rng = np.random.default_rng((height, width, grey))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    fall = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))  # (H, W)
    spectrum = np.fft.fft2(rng.normal(size=(height, width, 3)), axes=(0, 1)) * fall[..., None]
    planes = np.fft.ifft2(spectrum, axes=(0, 1)).real
    planes = planes @ np.array([[1, 1, 1], [0.25, 0, -0.25], [0.1, -0.2, 0.1]])  # mostly brightness
    planes = planes / planes.std()
    if grey:
        planes[:] = planes.mean(2, keepdims=True)
    return (128 + 45 * planes).round().clip(0, 255).astype(np.uint8)


def gradient(height: int, width: int, grey: bool = False) -> Bytes:
    """Slow slopes of colour, where banding and blocks show, uint8 (H, W, 3)."""
    rows, columns = np.mgrid[:height, :width] / (max(height, width) - 1)
    planes = np.stack([40 + 180 * rows, 60 + 120 * columns, 200 - 120 * rows * columns], 2)
    return (planes.mean(2, keepdims=True).repeat(3, 2) if grey else planes).round().astype(np.uint8)


PICTURES = {"texture": texture, "gradient": gradient}


def noisy(image: Bytes, deviation: float) -> Bytes:
    noise = np.random.default_rng(1).normal(scale=deviation, size=image.shape)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def blurred(image: Bytes, radius: float) -> Bytes:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def jpeg(image: Bytes, quality: int) -> Bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(file))


def score(original: Bytes, decoded: Bytes) -> float:
    found = ssimulacra2(Pixels(original, grey=False), Pixels(decoded, grey=False))
    assert found is not None
    return found


def tensor(image: Bytes) -> Tensor:
    return to_tensor(Pixels(image, grey=False))


def score_in_double(original: Bytes, decoded: Bytes) -> float:
    x, x_hat = tensor(original).double(), tensor(decoded).double()
    return float(score_of(raw(x_hat, prepare(x))))


def tolerance(score: float) -> float:
    """Points within which single precision keeps a score: near 100 it is steep in the error."""
    return 0.05 if score < 85 else 0.1


@pytest.fixture
def reference(tmp_path: Path) -> Callable[[Bytes, Bytes], float]:
    """Score of the PyPI package."""
    package = pytest.importorskip("ssimulacra2", reason="the extra `test` brings the reference in Python")

    def measure(original: Bytes, decoded: Bytes) -> float:
        paths = [tmp_path / "a.png", tmp_path / "b.png"]
        for path, image in zip(paths, (original, decoded), strict=True):
            Image.fromarray(image).save(path)
        return float(package.compute_ssimulacra2(*map(str, paths)))

    return measure


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_scores_are_those_of_the_reference(
    height: int, width: int, picture: str, grey: bool, reference: Callable[[Bytes, Bytes], float]
) -> None:
    original = PICTURES[picture](height, width, grey)
    for name, damage in DAMAGES.items():
        decoded = damage(original)
        expected = reference(original, decoded)
        assert score(original, decoded) == pytest.approx(expected, abs=tolerance(expected)), name
        assert score_in_double(original, decoded) == pytest.approx(expected, abs=0.02), name


@pytest.mark.parametrize(("key", "expected"), STORED.items(), ids=[f"{p} {h}x{w}" for p, _, h, w in STORED])
def test_scores_are_those_stored(key: tuple[str, bool, int, int], expected: dict[str, float]) -> None:
    picture, grey, height, width = key
    original = PICTURES[picture](height, width, grey)
    for name, value in expected.items():
        assert score(original, DAMAGES[name](original)) == pytest.approx(value, abs=tolerance(value)), name


@pytest.mark.slow
@pytest.mark.skipif(not KODAK, reason="RDO_TEST_KODAK names no folder of Kodak's pictures")
@pytest.mark.parametrize("quality", [15, 50, 90])
def test_scores_of_kodak_are_those_of_the_reference(quality: int, reference: Callable[[Bytes, Bytes], float]) -> None:
    for path in sorted(Path(KODAK).glob("*.png")):
        original = np.asarray(Image.open(path).convert("RGB"))
        decoded = jpeg(original, quality)
        assert score(original, decoded) == pytest.approx(reference(original, decoded), abs=0.05), path.name


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_identical_pictures_score_exactly_100(height: int, width: int, picture: str, grey: bool) -> None:
    original = PICTURES[picture](height, width, grey)
    assert score(original, original) == 100
    assert float(raw(tensor(original), prepare(tensor(original)))) == 0


def test_scores_fall_as_noise_grows() -> None:
    original = texture(96, 160)
    scores = [score(original, noisy(original, deviation)) for deviation in (0.5, 1, 2, 4, 8, 16, 32)]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == len(scores)
    assert scores[0] < 100 and scores[0] > 85 and scores[-1] < 0


def test_a_batch_is_as_many_pictures() -> None:
    originals = [texture(33, 41), gradient(33, 41), texture(33, 41, grey=True)]
    decoded = [noisy(originals[0], 5), jpeg(originals[1], 50), originals[2]]
    x, x_hat = (torch.cat([tensor(image) for image in images]) for images in (originals, decoded))
    together = raw(x_hat, prepare(x))
    alone = torch.cat([raw(tensor(b), prepare(tensor(a))) for a, b in zip(originals, decoded, strict=True)])
    assert together.shape == (3,) and torch.allclose(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("damage", ["identical", "noise", "jpeg 15", "black", "white"])
@pytest.mark.parametrize("picture", PICTURES)
def test_the_gradient_is_finite(picture: str, damage: str) -> None:
    """At identical pictures too, where the score itself has a slope without a bound, and at the ends of the range."""
    original = PICTURES[picture](24, 33)
    flat = {"identical": original, "black": np.zeros_like(original), "white": np.full_like(original, 255)}
    decoded = flat[damage] if damage in flat else DAMAGES[damage](original)
    x_hat = tensor(decoded).requires_grad_()
    (gradient_of,) = torch.autograd.grad(raw(x_hat, prepare(tensor(original))).sum(), x_hat)
    assert bool(gradient_of.isfinite().all()) and bool(gradient_of.any()) == (damage != "identical")


@pytest.mark.parametrize(("height", "width"), [(8, 9), (19, 33)])
def test_the_gradient_agrees_with_finite_differences(height: int, width: int) -> None:
    original = texture(height, width)
    reference = prepare(tensor(original).double())
    x_hat = (tensor(jpeg(original, 30)).double() * 0.9 + 0.03).requires_grad_()  # away from the kinks at equal values
    (gradient_of,) = torch.autograd.grad(raw(x_hat, reference).sum(), x_hat)
    step = 1e-6
    for seed in range(5):
        direction = torch.randn(x_hat.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            rise = raw(x_hat + step * direction, reference) - raw(x_hat - step * direction, reference)
        assert float((gradient_of * direction).sum()) == pytest.approx(float(rise) / (2 * step), rel=1e-5, abs=1e-6)


def test_single_precision_gradients_are_those_of_double() -> None:
    x, x_hat = tensor(texture(40, 48)), tensor(noisy(texture(40, 48), 6))
    gradients = []
    for kind in (torch.float32, torch.float64):
        leaf = x_hat.to(kind).requires_grad_()
        gradients += torch.autograd.grad(raw(leaf, prepare(x.to(kind))).sum(), leaf)
    single, double = gradients[0].double().flatten(), gradients[1].flatten()
    assert float((single - double).norm() / double.norm()) < 0.01


@pytest.mark.parametrize(("height", "width"), [(7, 300), (300, 7), (1, 1)])
def test_small_pictures_have_no_score_and_raise_in_optimisation(height: int, width: int) -> None:
    pixels = Pixels(np.zeros((height, width, 3), np.uint8), grey=False)
    assert ssimulacra2(pixels, pixels) is None
    with pytest.raises(ConfigError, match=r"sides of 8 pixels or more: optimise the mse \(--tune mse\)"):
        prepare(to_tensor(pixels))


@pytest.mark.gpu
def test_it_can_be_recorded_as_a_cuda_graph() -> None:
    x = tensor(texture(160, 96)).cuda()
    reference = prepare(x)
    x_hat = tensor(noisy(texture(160, 96), 6)).cuda().requires_grad_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # warm up: libraries choose their kernels
        for _ in range(3):
            torch.autograd.grad(raw(x_hat, reference).sum(), x_hat)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = raw(x_hat, reference)
        (gradient_of,) = torch.autograd.grad(value.sum(), x_hat)
    for deviation in (2, 12):
        decoded = tensor(noisy(texture(160, 96), deviation))
        with torch.no_grad():
            x_hat.copy_(decoded)
        graph.replay()
        leaf = decoded.requires_grad_()
        expected = raw(leaf, prepare(x.cpu()))
        (on_cpu,) = torch.autograd.grad(expected.sum(), leaf)
        assert value.cpu() == pytest.approx(expected.detach(), rel=1e-3)
        assert float((gradient_of.cpu() - on_cpu).norm() / on_cpu.norm()) < 0.02


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 300), (517, 64), (1025, 40), (130, 451)])
@pytest.mark.parametrize("side", [32, 64, 1024])
def test_parts_give_the_score_of_the_whole(photo, monkeypatch, height: int, width: int, side: int) -> None:
    a, b = (photo(height, width, seed) for seed in (0, 1))
    b = (0.9 * a + 0.1 * b).astype("uint8")
    monkeypatch.setattr(codec.metrics.ssimulacra2, "PART_PX", side)
    pixels = [Pixels(each, grey=False) for each in (a, b)]
    x, x_hat = (to_tensor(each).double() for each in pixels)
    expected = float(score_of(raw(x_hat, prepare(x))))
    assert expected < 99 and ssimulacra2(*pixels) == pytest.approx(expected, abs=0.02)
