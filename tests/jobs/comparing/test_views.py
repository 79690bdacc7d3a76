"""Pictures for the page: their size, their maps, and plain encoding at equal bytes."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jobs.comparing.views
from codec.arithmetic import coding_arithmetic
from codec.coding import decode, encode
from codec.images.pixels import Pixels
from codec.images.read import STRICT, read_image
from codec.interface import rate
from codec.metrics.ssimulacra2 import ssimulacra2
from codec.model import Codec
from jobs.comparing.bit_split import plain_latents
from jobs.comparing.colour_maps import colour_map
from jobs.comparing.points import load_records
from jobs.comparing.views import View, make_view, quality_at_bits, read_view, write_view


def decoded(uri: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


@pytest.fixture
def shown(save_photo: Any, rdo_encode: Any, codec: Codec) -> View:
    save_photo("a.png", 70, 100)
    assert rdo_encode("--iters", 2, "--quality", 6, "a.png") == 0
    return make_view(load_records(["rdo-out"])[0], codec, STRICT)


def test_layers_are_of_one_size_and_carry_their_figures(shown: View, codec: Codec) -> None:
    assert (shown.width, shown.height, shown.whole) == (100, 70, True)
    layers = {layer.name: layer for layer in shown.layers}
    assert {decoded(layer.uri).shape for layer in shown.layers} == {(70, 100, 3)}
    record = load_records(["rdo-out"])[0]
    assert (layers["refined"].bytes, layers["plain"].bytes) == (
        record.outcome.refined.bytes,
        record.outcome.plain.bytes,
    )
    for name in ("plain", "refined"):
        assert layers[name].ssimulacra2 == getattr(record.outcome, name).ssimulacra2 is not None
    original = read_image(Path("a.png"))
    assert np.abs(decoded(layers["original"].uri).astype(int) - original.data).mean() < 4
    equal = encode(codec, original, shown.equal_quality)
    assert layers["equal"].ssimulacra2 == ssimulacra2(
        original, decode(codec, encode(codec, original, shown.equal_quality)).pixels
    )
    assert layers["equal"].bytes == len(equal) == pytest.approx(record.outcome.refined.bytes, rel=0.05)


def test_a_large_picture_shows_its_middle_on_whole_blocks(
    save_photo: Any, rdo_encode: Any, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.comparing.views, "SIDE_MAX", 64)
    source = save_photo("a.png", 100, 130)
    assert rdo_encode("--iters", 0, "a.png") == 0
    found = make_view(load_records(["rdo-out"])[0], codec, STRICT)
    assert (found.width, found.height, found.whole) == (64, 64, False)
    part = read_image(source).data[16:80, 32:96].astype(int)
    assert np.abs(decoded(found.layers[0].uri) - part).mean() < 4


def test_a_view_is_kept(shown: View, tmp_path: Path) -> None:
    path = tmp_path / "look/a.json"
    write_view(path, shown)
    assert read_view(path) == shown
    path.write_text('{"image": 1}')
    assert read_view(path) is None and read_view(tmp_path / "none") is None


@pytest.mark.parametrize("quality", [2.5, 5.0, 7.5])
def test_a_quality_is_found_by_its_bits(photo: Any, codec: Codec, quality: float) -> None:
    pixels = Pixels(photo(64, 96), False)

    def bits(at: float) -> float:
        latents, level = plain_latents(codec, pixels, at), codec.level(at)
        with coding_arithmetic():
            return float(sum(rate(codec, latents, level)))

    found = quality_at_bits(codec, pixels, bits(quality), (5.0, bits(5.0)))
    assert bits(found) == pytest.approx(bits(quality), rel=0.03)
    assert quality_at_bits(codec, pixels, 1.0, (5.0, bits(5.0))) == 1.0


def test_a_colour_map_runs_between_its_ends() -> None:
    values = np.array([[0.0, 0.5, 1.0, 7.0]])
    pixels = colour_map(values, 1.0, np.array([(0, 0, 0), (200, 100, 50)], float)).data[0]
    assert pixels.tolist() == [[0, 0, 0], [100, 50, 25], [200, 100, 50], [200, 100, 50]]
