"""CompressAI's variable-rate models: at their levels and between, they write, price and decode as their own code."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("compressai", reason="needs CompressAI")


from codec.coding import decode, encode, plain_latents, write
from codec.errors import BitstreamError, CheckpointError, ConfigError
from codec.identity import model_id
from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor
from codec.interface import Latents, rate, rounded
from codec.loading import load
from codec.zoo import streams
from codec.zoo.fixed_rate import LMBDAS
from codec.zoo.variable_rate import VARIABLE, VbrCodec

HEIGHT, WIDTH = 70, 90
QUALITIES = [1, 4, 6.5, 8]
CASES = [(name, varies) for name in VARIABLE for varies in (False, True)]


@pytest.fixture(scope="module")
def pixels(photo: Callable) -> Pixels:
    return Pixels(photo(HEIGHT, WIDTH), grey=False)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}{'-varying-z' if case[1] else ''}")
def model(request, make_zoo_codec) -> VbrCodec:
    return make_zoo_codec(request.param[0], step_varies=request.param[1])


def plain(model: VbrCodec, pixels: Pixels, quality: float) -> Latents:
    with torch.no_grad():
        return plain_latents(model, to_tensor(pixels), model.level(quality))


def moved(model: VbrCodec, pixels: Pixels, quality: float) -> Latents:
    """Latents that no picture gives: every tenth is a step off, and what depends on them follows."""
    far = Latents(*(v + (torch.rand(v.shape) < 0.1) for v in plain(model, pixels, quality)))
    return rounded(far, model.grid(far, model.level(quality)))


def theirs(model: VbrCodec, quality: float) -> tuple[Any, dict[str, Any]]:
    """A model as CompressAI uses it, and how its functions are told the quality."""
    gains, low = model.model.Gain.abs(), int(quality) - 1
    gain = gains[low] if quality == int(quality) else (gains[low] * gains[low + 1]).sqrt()
    own = copy.deepcopy(model.model)
    own.update(force=True, scale=gain)
    return own, {"s": low} if quality == int(quality) else {"inputscale": gain}


@pytest.mark.parametrize("quality", QUALITIES)
def test_plain_files_hold_the_strings_of_compress(model, pixels, quality: float) -> None:
    own, told = theirs(model, quality)
    with torch.no_grad():
        strings = [s[0] for s in own.compress(pad(to_tensor(pixels), 64), **told)["strings"]]
        words = model.to_words(plain(model, pixels, quality), model.level(quality))
    assert streams.from_words(words, 2) == strings


@pytest.mark.parametrize("quality", QUALITIES)
def test_rate_is_that_of_forward_and_of_the_coders_tables(model, pixels, quality: float) -> None:
    own, told = theirs(model, quality)
    latents, level = plain(model, pixels, quality), model.level(quality)
    told = {"inputscale": own.Gain[told["s"]].abs()} if "s" in told else told
    with torch.no_grad():
        forward = {k: float(-v.log2().sum()) for k, v in own(pad(to_tensor(pixels), 64), **told)["likelihoods"].items()}
        y_bits, z_bits = (float(bits) for bits in rate(model, latents, level))
    assert y_bits == pytest.approx(forward["y"], rel=1e-4)
    assert z_bits == pytest.approx(
        table_bits(own.entropy_bottleneck, latents.z - model.grid(latents, level).z), rel=0.01
    )
    if not own.vr_entbttlnck:  # else forward prices steps of 1
        assert z_bits == pytest.approx(forward["z"], rel=1e-4)


def table_bits(bottleneck: Any, symbols: Tensor) -> float:
    """What the coder pays for symbols (1, C, h, w), none of them beyond the tables."""
    rows = bottleneck.quantized_cdf.double()
    places = (symbols[0].flatten(1) - bottleneck.offset[:, None]).long()
    assert int(places.min()) >= 0 and bool((places < bottleneck.cdf_length[:, None] - 2).all())
    return float(-((rows.gather(1, places + 1) - rows.gather(1, places)) / 2**16).log2().sum())


@pytest.mark.parametrize("quality", QUALITIES)
def test_files_are_as_long_as_estimated_and_give_the_latents_back(model, pixels, quality: float) -> None:
    level = model.level(quality)
    for latents in (plain(model, pixels, quality), moved(model, pixels, quality)):
        data = write(model, latents, width=WIDTH, height=HEIGHT, quality=quality, grey=False)
        found = decode(model, data)
        assert all(torch.equal(a, b) for a, b in zip(found.latents, latents, strict=True))
        with torch.no_grad():
            estimate = float(sum(rate(model, latents, level))) / 8
            x_hat = crop(model.synthesise(latents, level), HEIGHT, WIDTH)
        assert (found.pixels.data == from_tensor(x_hat, grey=False).data).all()
        assert estimate * 0.98 <= len(data) - 32 <= estimate * 1.02 + 20  # two ends of 8 bytes, and a word


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_picture_is_that_of_decompress_offsets_and_all(model, pixels, quality: float) -> None:
    own, told = theirs(model, quality)
    latents, level = moved(model, pixels, quality), model.level(quality)
    with torch.no_grad():
        strings = [[s] for s in streams.from_words(model.to_words(latents, level), 2)]
        picture = own.decompress(strings, (2, 2), **told)["x_hat"]
        own.no_quantoffset = True
        without = own.decompress(strings, (2, 2), **told)["x_hat"]
        ours = model.synthesise(latents, level).clamp(0, 1)
    assert torch.allclose(picture, ours, atol=1e-5)
    assert not torch.allclose(picture, without, atol=1e-3)


def test_what_is_relaxed_has_a_share_of_the_offset(model, pixels) -> None:
    bare = copy.deepcopy(model)
    bare.model.g_s = nn.Identity()
    latents, level = plain(model, pixels, 6.5), model.level(6.5)
    means = model.grid(latents, level).y
    with torch.no_grad():
        zero, half, one, two, three = (
            bare.synthesise(Latents((means + q).expand_as(latents.y), latents.z), level) for q in (0, 0.5, 1, 2, 3)
        )
    assert torch.allclose(2 * half, zero + one, atol=1e-4)
    assert torch.allclose(two - one, three - two, atol=1e-4)
    assert not torch.allclose(one - zero, two - one, atol=1e-2)


def test_each_of_a_batch_has_its_own_quality(model, pixels) -> None:
    x = pad(to_tensor(pixels), 64).expand(2, -1, -1, -1)
    both = torch.cat([model.level(2), model.level(6.5)])
    with torch.no_grad():
        latents = plain_latents(model, x, both)
        bits, pictures = rate(model, latents, both), model.synthesise(latents, both)
        for i in range(2):
            own = Latents(*(v[i : i + 1] for v in latents))
            alone = (*rate(model, own, both[i : i + 1]), model.synthesise(own, both[i : i + 1]))
            for together, one in zip((*bits, pictures), alone, strict=True):
                assert torch.allclose(together[i : i + 1], one, rtol=1e-4, atol=1e-5)


def test_the_model_is_whole_again_after_writing_and_reading(model, pixels) -> None:
    modules, weights = [id(m) for m in model.modules()], {k: v.clone() for k, v in model.state_dict().items()}
    before = model_id(model)
    for quality in (2, 7.5):
        decode(model, encode(model, pixels, quality))
    assert [id(m) for m in model.modules()] == modules and model.model.no_quantoffset is False
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert model_id(model) == before


def test_every_quality_in_1_to_8(model) -> None:
    assert [model.lmbda_of(q) for q in range(1, 9)] == list(LMBDAS)
    assert model.lmbda_of(2.5) == pytest.approx((LMBDAS[1] * LMBDAS[2]) ** 0.5)
    for quality in (0.9, 8.1, float("nan")):
        with pytest.raises(ConfigError, match="must lie between 1"):
            model.level(quality)


def test_a_forged_stream_is_refused(model, pixels) -> None:
    words = model.to_words(plain(model, pixels, 4), model.level(4))
    with pytest.raises(BitstreamError, match="forged"):
        model.from_words(words[:-1], WIDTH, HEIGHT, model.level(4))


@pytest.mark.parametrize("tables", [False, True])
def test_loads_checkpoints_with_tables_of_any_step_or_none(model, pixels, tmp_path: Path, tables: bool) -> None:
    own = theirs(model, 6.5)[0] if tables else model.model
    torch.save({"state_dict": own.state_dict()}, tmp_path / "weights.pth.tar")
    found = load(f"{model.config.name}:{tmp_path / 'weights.pth.tar'}")
    assert model_id(found) == model_id(model)
    assert encode(found, pixels, 2.5) == encode(model, pixels, 2.5)


@pytest.mark.parametrize("quality", ["3", "3:weights.pth"])
def test_a_quality_is_not_part_of_the_name(quality: str) -> None:
    with pytest.raises(ConfigError, match="rate is variable: name compressai:mbt2018-mean-vbr, and use --quality"):
        load(f"compressai:mbt2018-mean-vbr:{quality}")


def test_weights_of_another_model_are_refused(make_zoo_codec, tmp_path: Path) -> None:
    torch.save(make_zoo_codec("mbt2018-mean").model.state_dict(), tmp_path / "fixed.pth")
    for name in VARIABLE:
        with pytest.raises(CheckpointError, match=f"no weights of {name}"):
            load(f"compressai:{name}:{tmp_path / 'fixed.pth'}")
