"""Refinement beside exact blocks: the cheapest file wins, masked distortions, goals that a lossless file meets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageDraw

import rdo
from codec.bitstream.container import unpack
from codec.bitstream.exact import exact_blocks
from codec.coding import decode
from codec.errors import ConfigError
from codec.images.mosaic import pixel_mask
from codec.images.pixels import Pixels, to_tensor
from codec.metrics.psnr import mse, psnr_db
from codec.model import Codec
from rdo.config import RefineConfig
from rdo.distortion import MSE, Distortion
from rdo.encoding import encode_pictures
from rdo.exact import encode_files
from rdo.exact_part import exact_part
from rdo.objective import Problem
from rdo.target import Goal
from rdo.tune import tune_of

RNG = np.random.default_rng(0)
STEPS = RefineConfig(iters=4)


def text(height: int, width: int) -> np.ndarray:
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for row in range(height // 14):
        draw.text((3, 14 * row), f"{row} a line of text, {row * 37} of 99; " * 4, fill=(20, 20, 60))
    return np.asarray(image)


@pytest.fixture(scope="module")
def page(photo: Callable) -> Pixels:
    """A photograph on the left, text on the right: 3 x 5 blocks."""
    data = text(192, 320).copy()
    data[:, :128] = np.clip(photo(192, 128) + RNG.normal(0, 3, (192, 128, 3)), 0, 255)
    return Pixels(data, grey=False)


@pytest.fixture(scope="module")
def picture(photo: Callable) -> Pixels:
    return Pixels(np.clip(photo(192, 320) + RNG.normal(0, 3, (192, 320, 3)), 0, 255).astype(np.uint8), grey=False)


def cost(codec: Codec, pixels: Pixels, quality: float, data: bytes) -> float:
    error = mse(pixels, decode(codec, data).pixels)
    return 8 * len(data) + codec.lmbda_of(quality) * error * pixels.width * pixels.height


def blocks_of(data: bytes) -> np.ndarray | None:
    exact = exact_blocks(unpack(data))
    return None if exact is None else exact.mask


def test_exact_pixels_have_no_error_and_no_gradient() -> None:
    x, x_hat = torch.rand(1, 3, 176, 176), torch.rand(1, 3, 176, 176, requires_grad=True)
    exact = torch.zeros(1, 1, 176, 176, dtype=torch.bool)
    exact[..., :64, 64:128] = True
    for distortion in (
        Distortion(exact=exact),
        Distortion(exact=exact, ms_ssim_share=0.5),
        Distortion(exact=exact, visual_share=0.5).fitted(x, torch.rand(1, 3, 176, 176)),
    ):
        (gradient,) = torch.autograd.grad(distortion(x_hat, x).sum(), x_hat)
        assert not bool(gradient[..., :64, 64:128].any()) and bool(gradient.any())
        assert float(distortion(x, x)) == pytest.approx(0, abs=1e-3)
    x_hat, whole = x_hat.detach(), torch.ones_like(exact)
    assert float(Distortion(exact=whole)(x_hat, x)) == 0
    kept = (255 * (x_hat - x)).square() * ~exact
    assert float(Distortion(exact=exact)(x_hat, x)) == pytest.approx(float(kept.mean()), rel=1e-5)


def test_positions_of_exact_pixels_have_no_weight(tiny_codec: Codec) -> None:
    x = torch.rand(1, 3, 128, 192)
    exact = torch.zeros(1, 1, 128, 192, dtype=torch.bool)
    exact[..., 64:] = True
    problem = Problem(tiny_codec, x, tiny_codec.level(4.0), torch.ones(1), Distortion(exact=exact))
    weights = problem.position_weights(torch.zeros(1, 16, 8, 12))
    assert isinstance(weights, torch.Tensor)
    assert bool((weights[..., :3] == 1).all()) and not bool(weights[..., 5:].any())
    assert bool((weights[..., 3:5] > 0).all()) and problem._replace(metric=MSE).position_weights(x) == 1.0


@pytest.mark.parametrize("tune", ["mse", "visual"])
def test_a_refined_page_costs_less_than_by_either_way_alone(small: Codec, page: Pixels, tune: str) -> None:
    aim = tune_of(tune, small)
    [found] = encode_files(small, [page], tune=aim, quality=6, config=STEPS)
    [learned] = encode_pictures(small, [page], tune=aim, quality=6, config=STEPS)
    mask = blocks_of(found.file.data)
    assert mask is not None and mask[:, 2:].mean() > 0.8 and mask[:, :2].mean() < 0.2
    lossless = len(rdo.encode(small, page, quality=6, iters=0, exact="all"))
    assert found.file.cost(found.lmbda) < 0.8 * min(learned.file.cost(found.lmbda), 8 * lossless / (192 * 320))
    assert found.file.cost(found.lmbda) <= found.plain.cost(found.lmbda) <= learned.plain.cost(found.lmbda)
    assert found.refined.iters == STEPS.iters
    assert np.array_equal(decode(small, found.file.data).pixels.data, found.file.pixels.data)


def test_latents_under_exact_blocks_become_cheap(small: Codec, page: Pixels) -> None:
    mask = np.zeros((3, 5), dtype=bool)
    mask[:, 2:] = True
    part = exact_part(small, page, mask, MSE)
    aim = tune_of("mse", small)
    with_mask, without = (
        encode_pictures(small, [part.rest], tune=each, quality=6, config=RefineConfig(iters=12))[0]
        for each in (aim.__class__(part.distortion), aim)
    )
    x = to_tensor(part.rest)
    bpps = [8 * len(each.file.data) / (192 * 320) for each in (with_mask, without)]
    errors = [float(part.distortion(to_tensor(each.file.pixels), x)) for each in (with_mask, without)]
    costs = [bpp + with_mask.lmbda * error for bpp, error in zip(bpps, errors, strict=True)]
    assert costs[0] < costs[1]
    [text_too] = encode_pictures(small, [page], tune=aim, quality=6, config=RefineConfig(iters=0))
    assert len(with_mask.file.data) < 0.3 * len(text_too.file.data)


def test_photographs_are_refined_as_they_were(small: Codec, picture: Pixels) -> None:
    files = [rdo.encode(small, picture, quality=4, iters=3, exact=mode) for mode in ("auto", "never")]
    assert files[0] == files[1]


def test_a_batch_has_exact_blocks_where_they_pay(small: Codec, picture: Pixels, page: Pixels) -> None:
    flat = Pixels(np.full((192, 320, 3), (255, 0, 255), np.uint8), grey=False)
    found = encode_files(small, [page, picture, flat], tune=tune_of(None, small), quality=6, config=STEPS)
    masks = [blocks_of(each.file.data) for each in found]
    assert masks[0] is not None and masks[1] is None and masks[2] is not None and masks[2].all()
    assert [len(each.refined.plain.y) for each in found] == [1, 1, 1]
    assert found[2].file == found[2].plain and found[2].refined.iters == 0
    assert all(each.file.cost(each.lmbda) <= each.plain.cost(each.lmbda) for each in found)


def test_lossless_files_have_all_blocks(small: Codec, page: Pixels) -> None:
    data = rdo.encode(small, page, quality=3, exact="all")
    assert np.array_equal(decode(small, data).pixels.data, page.data)
    [found] = encode_files(small, [page], tune=tune_of(None, small), config=STEPS, exact="all")
    assert found.file.distortion == 0 and found.refined.iters == 0 and found.file == found.plain


@pytest.mark.parametrize("kind", ["bytes", "psnr"])
def test_goals_are_met_with_exact_blocks(small: Codec, page: Pixels, kind: str) -> None:
    plain = rdo.encode(small, page, quality=5, iters=0)
    error_db = psnr_db(page, decode(small, plain).pixels)
    assert error_db is not None
    goal = {"target_bytes": len(plain)} if kind == "bytes" else {"target_psnr_db": error_db}
    data = rdo.encode(small, page, iters=3, **goal)
    mask = blocks_of(data)
    assert mask is not None and mask[:, 2:].mean() > 0.5
    if kind == "bytes":
        assert 0.94 * len(plain) <= len(data) <= len(plain)
    else:
        assert psnr_db(page, decode(small, data).pixels) == pytest.approx(error_db, abs=0.06)
    with pytest.raises(ConfigError, match="out of reach"):  # without them
        rdo.encode(small, page, iters=0, exact="never", **goal)


def test_a_lossless_file_meets_every_goal_that_it_is_small_enough_for(small: Codec) -> None:
    drawing = Pixels(text(128, 128), grey=False)
    lossless = len(rdo.encode(small, drawing, exact="all"))
    for goal in ({"target_bytes": lossless}, {"target_bytes": 10 * lossless}, {"target_psnr_db": 45.0}):
        data = rdo.encode(small, drawing, iters=2, **goal)
        assert len(data) == lossless and np.array_equal(decode(small, data).pixels.data, drawing.data)
    checker = Pixels((np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1), grey=True)
    assert len(rdo.encode(small, checker, iters=2, target_ssimulacra2=80.0)) < 200
    with pytest.raises(ConfigError, match="out of reach"):
        rdo.encode(small, drawing, iters=2, target_bytes=60)


def test_a_mask_of_interest_weighs_what_is_left_to_the_networks(small: Codec, page: Pixels) -> None:
    weight = torch.ones(1, 1, 192, 320)
    weight[..., :64] = 4.0
    weight /= weight.mean()
    data = rdo.encode(small, page, quality=6, iters=3, distortion=Distortion(weight=weight))
    mask = blocks_of(data)
    assert mask is not None and mask[:, 2:].mean() > 0.8 and mask[:, :2].mean() < 0.2
    [plain] = encode_pictures(small, [page], tune=tune_of(None, small), quality=6, config=RefineConfig(iters=0))
    x_hat, x_plain, x = (to_tensor(each) for each in (decode(small, data).pixels, plain.file.pixels, page))
    ratios = [float(each(x_hat, x) / each(x_plain, x)) for each in (Distortion(weight=weight), MSE)]
    assert ratios[0] < 1 and ratios[1] < 1


@pytest.mark.parametrize(("tune", "iters"), [("mse", 0), ("visual", 2)])
@pytest.mark.parametrize("grey", [False, True])
def test_pictures_of_several_tiles_and_odd_size(small: Codec, page: Pixels, tune: str, iters: int, grey: bool) -> None:
    data = page.data[:171, :317]
    odd = Pixels(np.repeat(data[..., 1:2], 3, -1) if grey else data, grey)
    settings = {"tune": tune_of(tune, small), "quality": 6, "config": RefineConfig(iters=iters), "tile": 128}
    [found] = encode_files(small, [odd], **settings)
    contents, decoded = unpack(found.file.data), decode(small, found.file.data).pixels
    mask = blocks_of(found.file.data)
    assert len(contents.streams) == 2 and contents.header.grey == grey and mask is not None
    assert mask[:, 2:].mean() > 0.5 and not mask.all()
    exact = pixel_mask(mask, 317, 171)
    assert np.array_equal(decoded.data[exact], odd.data[exact]) and np.array_equal(decoded.data, found.file.pixels.data)
    [learned] = encode_files(small, [odd], **settings, exact="never")
    [lossless] = encode_files(small, [odd], **settings, exact="all")
    assert found.file.cost(found.lmbda) < 0.9 * min(each.file.cost(each.lmbda) for each in (learned, lossless))


def test_saved_states_of_both_refinements_are_kept_apart(
    small: Codec, page: Pixels, store: Any, monkeypatch: Any
) -> None:
    """Where exact blocks gain little, the picture is refined with them and without: neither resumes the other."""
    monkeypatch.setattr("rdo.exact.CLEAR_GAIN", 1.0)
    settings = {"tune": tune_of(None, small), "quality": 6, "config": STEPS}
    [right] = encode_files(small, [page], **settings)
    monkeypatch.setattr("rdo.resuming.INTERVAL_S", 0.0)
    for _ in range(2):  # the second goes on at the end of the first
        [found] = encode_files(small, [page], **settings, store=store)
        assert found.file.data == right.file.data
    assert store.data is not None and len({name.split("/")[0] for name in safetensors.torch.load(store.data)}) == 2


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_a_time_budget_is_that_of_the_picture(small: Codec, page: Pixels, monkeypatch: Any, gain: float) -> None:
    monkeypatch.setattr("rdo.exact.CLEAR_GAIN", gain)
    budgets, own = [], encode_pictures

    def encode(*args: Any, config: RefineConfig, **settings: Any) -> Any:
        budgets.append(config.time_budget)
        return own(*args, config=replace(config, iters=0), **settings)

    monkeypatch.setattr("rdo.exact_plan.encode_pictures", encode)
    config = RefineConfig(iters=4, time_budget=8.0)
    encode_files(small, [page], tune=tune_of(None, small), quality=6, config=config)
    assert budgets[1:] == ([4.0, 4.0] if gain else [8.0])  # after plain encoding


def test_the_lossless_file_is_taken_where_refinement_gains_less_than_expected(small: Codec, monkeypatch: Any) -> None:
    drawing = Pixels(text(128, 128), grey=False)
    settings = {"tune": tune_of(None, small), "quality": 6, "config": STEPS}
    [learned], [lossless] = (encode_files(small, [drawing], **settings, exact=mode) for mode in ("never", "all"))
    assert lossless.file.cost(lossless.lmbda) < learned.file.cost(learned.lmbda)
    monkeypatch.setattr("rdo.exact_plan.REFINEMENT_GAIN", 0.999)
    [found] = encode_files(small, [drawing], **settings)
    assert found.file.data == lossless.file.data and found.plain.data == lossless.file.data


def test_modes_that_make_no_sense_are_refused(tiny_codec: Codec, page: Pixels) -> None:
    with pytest.raises(ConfigError, match="exact 'some': choose one of auto, never, all"):
        rdo.encode(tiny_codec, page, exact="some")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="exact all: a lossless file has one size"):
        rdo.encode(tiny_codec, page, exact="all", target_bytes=900)


def test_a_lossless_file_that_meets_a_goal_is_of_the_best_quality(small: Codec) -> None:
    drawing = Pixels(text(128, 128), grey=False)
    goal = Goal("psnr", 45.0)
    [found] = encode_files(small, [drawing], tune=tune_of(None, small), goal=goal, config=STEPS)
    assert (found.quality, found.lmbda) == (8.0, small.lmbda_of(8))
    assert unpack(found.file.data).header.quality == 8
