"""Pictures of several tiles: refined tile by tile, never worse, with every metric, mask and target."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import rdo.tiles
from codec.arithmetic import coding_arithmetic
from codec.bitstream.boxes import Box
from codec.bitstream.container import unpack
from codec.coding import decode, encode, write
from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents, rate
from codec.latents import cut, part_of
from codec.metrics.psnr import mse, psnr_db
from codec.metrics.ssimulacra2 import ssimulacra2
from codec.model import Codec
from rdo.config import RefineConfig
from rdo.distortion import MSE, Distortion, weight_of_mask
from rdo.encoding import encode_pictures
from rdo.objective import Best, priced
from rdo.one_picture import encode as encode_refined
from rdo.presets import recipe
from rdo.tiled_picture import TiledPicture
from rdo.tiles import refine_tiles
from rdo.tune import tune_of

WIDTH, HEIGHT, TILE = 300, 200, 128  # 2 x 2 tiles
LMBDA = 1e-3  # rate and distortion of an untrained codec weigh about the same


@pytest.fixture(scope="module")
def pixels(photo: Callable[..., NDArray[np.uint8]]) -> Pixels:
    return Pixels(photo(HEIGHT, WIDTH), grey=False)


def picture_of(codec: Codec, pixels: Pixels, metric: Distortion = MSE) -> TiledPicture:
    return TiledPicture(codec, pixels, TILE, codec.level(4.0), LMBDA, metric)


def test_costs_of_the_tiles_are_those_of_the_picture(tiny_codec: Codec, pixels: Pixels) -> None:
    picture = picture_of(tiny_codec, pixels)
    latents = picture.plain()
    cost = picture.cost(latents)
    data = write(tiny_codec, latents, width=WIDTH, height=HEIGHT, quality=4, grey=False, tile=TILE)
    decoded = decode(tiny_codec, data).pixels
    assert np.array_equal(picture.decoded(latents).data, decoded.data)
    assert float(cost.distortion) == pytest.approx(mse(pixels, decoded), rel=1e-5)
    assert picture.distortion_of(latents) == picture.distortion(decoded) == float(cost.distortion)
    streams = len(data) - unpack(data).header_bytes - 4 * 4  # each stream ends within a word
    assert float(cost.bpp) == pytest.approx(8 * streams / (WIDTH * HEIGHT), rel=0.03)
    assert float(cost.total) == pytest.approx(float(cost.bpp) + LMBDA * float(cost.distortion), rel=1e-5)


@pytest.mark.parametrize("index", range(4))
def test_a_change_of_a_tile_changes_its_cost_as_it_does_the_pictures(
    tiny_codec: Codec, pixels: Pixels, index: int
) -> None:
    """The problem of one tile sees all that its latents change, at its edges too."""
    picture = picture_of(tiny_codec, pixels)
    latents, tile = part_of(picture.plain(), picture.whole, picture.whole), picture.tiles[index]
    problem = picture.problem(latents, tile, RefineConfig())
    own = Latents(*(v.clone() for v in cut(latents, picture.whole, tile)))
    moved = own._replace(y=own.y + (torch.rand(own.y.shape) < 0.05).float())
    changed = Latents(*(v.clone() for v in latents))
    for target, new in zip(cut(changed, picture.whole, tile), moved, strict=True):
        target.copy_(new)

    def squared_error(v: Latents) -> float:
        with coding_arithmetic():
            x_hat = tiny_codec.synthesise(v, picture.level)[..., :HEIGHT, :WIDTH].clamp(0, 1)
        return float((255 * (x_hat - to_tensor(pixels))).double().square().mean()) * WIDTH * HEIGHT

    with coding_arithmetic():
        before, after = (float(priced(problem, v).cost.distortion) * problem.pixels for v in (own, moved))
        bits = [float(sum(rate(tiny_codec, v, picture.level))) for v in (own, moved)]
        told = [float(priced(problem, v).cost.bpp) * problem.pixels for v in (own, moved)]
    assert after - before == pytest.approx(squared_error(changed) - squared_error(latents), rel=2e-3)
    assert told == pytest.approx(bits, rel=1e-5)


@pytest.mark.parametrize("method", ["rdoq", "linear"])
def test_refinement_lowers_the_cost_of_every_kind_of_file(tiny_codec: Codec, pixels: Pixels, method: str) -> None:
    picture = picture_of(tiny_codec, pixels)
    plain, seen = picture.plain(), list[int]()
    config = replace(recipe(8, method), seed=3)
    found = refine_tiles(picture, plain, config=config, progress=seen.append)
    assert float(picture.cost(found.latents).total) < 0.99 * float(picture.cost(plain).total)
    assert found.iters == 8 and seen == sorted(seen) and seen[-1] == 8
    assert {v.dtype for v in found.latents} == {v.dtype for v in plain} == {torch.int16}
    assert not torch.equal(found.latents.y, plain.y), "and the start is left alone"


@pytest.mark.usefixtures("one_start")
def test_it_finds_what_a_refinement_of_the_whole_finds(tiny_codec: Codec, pixels: Pixels) -> None:
    config = recipe(12)
    costs = [
        encode_pictures(tiny_codec, [pixels], tune=tune_of(None, tiny_codec), lmbda=LMBDA, config=config, tile=tile)[0]
        for tile in (0, TILE)
    ]
    whole, tiled = (each.file.cost(LMBDA) for each in costs)
    assert tiled < costs[1].plain.cost(LMBDA) and tiled < 1.02 * whole
    assert [len(unpack(each.file.data).streams) for each in costs] == [1, 4]
    assert float(costs[1].refined.cost_est.total) == pytest.approx(tiled, rel=1e-5)


def test_tiles_of_little_cost_leave_their_steps_to_the_others(
    tiny_codec: Codec, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rdo.tiles, "COST_MIN", 1.0)
    monkeypatch.setattr(rdo.tiles, "SECOND_FRACTION", 0.0)  # which tiles are worth it is asked again in a second sweep
    picture = picture_of(tiny_codec, pixels)
    plain = picture.plain()
    costs, steps = [], list[int]()
    for tile in picture.tiles:
        problem = picture.problem(plain, tile, RefineConfig())
        with coding_arithmetic():
            costs.append(float(priced(problem, part_of(plain, picture.whole, tile)).cost.total) * problem.pixels)
    few = [cost < sum(costs) / 4 for cost in costs]
    assert 0 < sum(few) < 4
    found = refine_tiles(picture, plain, config=recipe(8), progress=steps.append)
    assert found.iters == 8 and len(steps) == 4 * 8
    same = [
        all(
            torch.equal(*both)
            for both in zip(*(cut(v, picture.whole, tile) for v in (found.latents, plain)), strict=True)
        )
        for tile in picture.tiles
    ]
    assert same == few


def test_a_tile_that_gains_no_more_leaves_its_steps_to_those_after_it(
    tiny_codec: Codec, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, used, refined_tile = list[int](), list[int](), rdo.tiles._refined_tile

    def count(*args: object, config: RefineConfig, **others: object) -> tuple[Best, int]:
        best, steps = refined_tile(*args, config=config, **others)
        given.append(config.iters)
        used.append(steps)
        return best, steps

    picture = picture_of(tiny_codec, pixels)
    config = replace(recipe(12), patience=2)
    start = refine_tiles(picture, picture.plain(), config=config).latents
    monkeypatch.setattr(rdo.tiles, "SECOND_FRACTION", 0.0)
    monkeypatch.setattr(rdo.tiles, "_refined_tile", count)
    found = refine_tiles(picture, start, config=replace(config, temperature_bits=0.0, iters=100))
    assert used[0] < given[0] == 100, "it has next to nothing to gain"
    assert given == [(4 * 100 - sum(used[:index])) // (4 - index) for index in range(4)]
    assert given[1] > 100 and found.iters == -(-sum(used) // 4)


def test_the_second_sweep_leaves_tiles_that_gain_no_more(
    tiny_codec: Codec, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = picture_of(tiny_codec, pixels)
    start = refine_tiles(picture, picture.plain(), config=replace(recipe(12), patience=2)).latents
    monkeypatch.setattr(rdo.tiles, "SECOND_FRACTION", 1.0)
    assert refine_tiles(picture, start, config=recipe(100)).iters < 100
    monkeypatch.setattr(rdo.tiles, "SECOND_PATIENCE", 0)
    assert refine_tiles(picture, start, config=recipe(100)).iters == 100


@pytest.mark.parametrize("iters", [0, 2])
def test_a_picture_that_is_hard_for_the_networks_is_coded_along_the_linear_path(
    small: Codec, strayed: Codec, photo: Callable[..., NDArray[np.uint8]], iters: int
) -> None:
    pixels = Pixels(photo(128, 256), grey=False)
    for codec, profile in ((strayed, small.linear_profile), (small, 0)):
        tune, config = tune_of(None, codec), RefineConfig(iters=iters)
        [found] = encode_pictures(codec, [pixels], tune=tune, quality=8, config=config, tile=TILE)
        for file in (found.file, found.plain):
            assert unpack(file.data).header.gain_profile == profile
            assert len(unpack(file.data).streams) == 2
            assert np.array_equal(decode(codec, file.data).pixels.data, file.pixels.data)
        assert found.file.cost(found.lmbda) <= found.plain.cost(found.lmbda)
        by_networks = TiledPicture(codec, pixels, TILE, codec.level(8), found.lmbda, MSE)
        worst = 0.6 if profile else 1.05  # of the cost of plain encoding by the networks, without a header
        assert found.plain.cost(found.lmbda) <= worst * float(by_networks.cost(by_networks.plain()).total)


@pytest.mark.parametrize("tune", ["mse", "ms-ssim", "visual", "visual:0.5"])
def test_no_tuning_is_worse_than_plain(small: Codec, photo: Callable[..., NDArray[np.uint8]], tune: str) -> None:
    pixels = Pixels(photo(360, 370), grey=False)
    kind = tune_of(tune, small)
    [encoded] = encode_pictures(
        small, [pixels], tune=kind, quality=4, config=recipe(6, "rdoq"), tile=192
    )  # fmt: skip
    assert len(unpack(encoded.file.data).streams) == 4
    assert encoded.file.cost(encoded.lmbda) <= encoded.plain.cost(encoded.lmbda)  # so few steps may find nothing
    assert np.array_equal(decode(small, encoded.file.data).pixels.data, encoded.file.pixels.data)
    profile = unpack(encoded.file.data).header.gain_profile
    assert profile == 0 if not tune.startswith("visual") else profile in (0, *kind.gain_profiles)


def test_the_visual_metric_is_that_of_the_picture_as_one_tile(small: Codec, photo: Callable) -> None:
    """Tiles are weighed by one scale, near that of the whole."""
    pixels = Pixels(photo(384, 500), grey=False)
    picture = TiledPicture(small, pixels, 256, small.level(4.0), 0.01, Distortion(visual_share=0.9))
    plain = picture.plain()
    fitted = picture.fitted(plain)
    decoded = picture.decoded(plain)
    whole = picture.metric.fitted(to_tensor(pixels), to_tensor(decoded))
    assert fitted.metric.visual_scales is not None and whole.visual_scales is not None
    for scale, expected in zip(fitted.metric.visual_scales, whole.visual_scales, strict=True):
        assert float(scale) == pytest.approx(float(expected), rel=0.25)
    expected = float(whole(to_tensor(decoded), to_tensor(pixels)))
    assert fitted.distortion(decoded) == pytest.approx(expected, rel=0.25)


def test_masks_weigh_the_pixels_under_them(tiny_codec: Codec, pixels: Pixels) -> None:
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 90:150, 100:180] = 1  # across all four tiles
    metric = Distortion(weight=weight_of_mask(mask, 20))
    picture = picture_of(tiny_codec, pixels, metric)
    plain = picture.plain()
    found = refine_tiles(picture, plain, config=recipe(10)).latents
    errors = []
    for latents in (plain, found):
        squared = (picture.decoded(latents).data.astype(float) - pixels.data) ** 2
        errors.append((squared[90:150, 100:180].mean(), squared.mean()))
        weighted = float((torch.from_numpy(squared.mean(2)) * metric.weight[0, 0]).mean())
        assert picture.distortion(picture.decoded(latents)) == pytest.approx(weighted, rel=1e-4)
    assert errors[1][0] / errors[0][0] < errors[1][1] / errors[0][1]
    for tile in picture.tiles:
        problem = picture.problem(plain, tile, RefineConfig())
        weights = problem.position_weights(cut(plain, picture.whole, tile).y)
        assert isinstance(weights, torch.Tensor)
        top, left = tile.top, tile.left
        assert float(weights[0, 0, 0, 0]) == pytest.approx(
            float(metric.weight[0, 0, top : top + 16, left : left + 16].mean()), rel=1e-4
        )


@pytest.mark.parametrize("goal", ["target_bytes", "target_psnr_db", "target_ssimulacra2"])
def test_targets_are_met(small: Codec, photo: Callable[..., NDArray[np.uint8]], goal: str) -> None:
    pixels = Pixels(photo(128, 200), grey=False)
    plain = encode(small, pixels, 4, tile=128)
    decoded = decode(small, plain).pixels
    values = {
        "target_bytes": len(plain),
        "target_psnr_db": psnr_db(pixels, decoded),
        "target_ssimulacra2": ssimulacra2(pixels, decoded),
    }
    wanted = values[goal]
    data = encode_refined(small, pixels, iters=8, tile=128, **{goal: wanted})
    found = decode(small, data).pixels
    assert len(unpack(data).streams) == 2
    if goal == "target_bytes":
        assert 0.95 * wanted <= len(data) <= wanted
    elif goal == "target_psnr_db":
        assert psnr_db(pixels, found) == pytest.approx(wanted, abs=0.05) and len(data) < len(plain)
    else:
        assert ssimulacra2(pixels, found) == pytest.approx(wanted, abs=0.5)


def test_targets_of_hard_pictures_are_met_along_the_linear_path(
    small: Codec, strayed: Codec, photo: Callable[..., NDArray[np.uint8]]
) -> None:
    pixels = Pixels(photo(128, 256), grey=False)
    for codec, profile in ((strayed, small.linear_profile), (small, 0)):
        data = encode_refined(codec, pixels, iters=0, tile=TILE, target_psnr_db=40, exact="never")
        assert unpack(data).header.gain_profile == profile
        assert psnr_db(pixels, decode(codec, data).pixels) == pytest.approx(40, abs=0.05)


@pytest.mark.parametrize("goal", ["target_psnr_db", "target_ssimulacra2"])
def test_targets_count_exact_blocks(small: Codec, photo: Callable[..., NDArray[np.uint8]], goal: str) -> None:
    samples = np.tile(np.uint8([[[10, 10, 10], [250, 250, 250]], [[200, 20, 20], [10, 10, 10]]]), (64, 128, 1))
    samples[:, :128] = photo(128, 128)  # a photograph beside a pattern that is cheap to store and dear to code
    pixels, wanted = Pixels(samples, grey=False), {"target_psnr_db": 44.0, "target_ssimulacra2": 85.0}[goal]
    data = encode_refined(small, pixels, iters=0, tile=TILE, **{goal: wanted})
    contents, found = unpack(data), decode(small, data).pixels
    assert contents.exact and len(contents.streams) == 2
    if goal == "target_psnr_db":
        assert psnr_db(pixels, found) == pytest.approx(wanted, abs=0.05)
    else:
        assert ssimulacra2(pixels, found) == pytest.approx(wanted, abs=1)


def test_a_time_budget_is_that_of_all_tiles(tiny_codec: Codec, pixels: Pixels) -> None:
    picture = picture_of(tiny_codec, pixels)
    config = RefineConfig(iters=10**6, time_budget=2.0)
    seen = list[int]()
    found = refine_tiles(picture, picture.plain(), config=config, progress=seen.append)
    assert 0 < found.iters < 10**4
    assert float(picture.cost(found.latents).total) <= float(picture.cost(picture.plain()).total)


@pytest.mark.usefixtures("one_start")
def test_boxes_and_plain_encoding_pass_through(tiny_codec: Codec, pixels: Pixels) -> None:
    boxes = (Box(b"EXIF", b"abc"),)
    for iters in (0, 2):
        for tile in (0, TILE):
            data = encode_refined(tiny_codec, pixels, iters=iters, tile=tile, boxes=boxes)
            assert decode(tiny_codec, data).boxes == boxes
    plain = encode(tiny_codec, pixels, tile=TILE)
    assert encode_refined(tiny_codec, pixels, iters=0, tile=TILE, exact="never") == plain
