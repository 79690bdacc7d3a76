"""Published curves: what ships, and which pictures are recognised."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jobs.comparing.anchors
from codec.errors import ConfigError
from codec.images.pixels import Pixels
from codec.images.read import read_image
from jobs.comparing.anchors import AnchorSet, installed_anchors, load_anchors, match_anchors, pixels_hash


@pytest.mark.parametrize("name", ["kodak", "tecnick", "clic"])
def test_every_set_is_whole(name: str) -> None:
    found = load_anchors(name)
    assert found.anchor in found.curves and set(found.drawn) <= found.curves.keys()
    for curve in found.curves.values():
        assert curve.source and len(curve.bpp) == len(curve.psnr_db) >= 4
        assert min(curve.bpp) > 0 and all(np.diff(curve.bpp) > 0)
    assert "VTM" in found.anchor


def test_kodak_knows_its_24_pictures() -> None:
    assert load_anchors("kodak").pictures == 24
    assert set(installed_anchors()) == {"kodak", "tecnick", "clic"}


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="kodak"):
        load_anchors("kodac")


def test_pixels_are_recognised_in_any_lossless_file(save_photo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_photo("a.png")
    digest = pixels_hash(read_image(path))
    known = AnchorSet("own", "Own", "", "x", (), {digest: "one", "0" * 64: "one", "f": "two"}, {})
    monkeypatch.setattr(jobs.comparing.anchors, "installed_anchors", lambda: {"own": Path("own.json")})
    monkeypatch.setattr(jobs.comparing.anchors, "load_anchors", lambda name: known)
    bmp, other = save_photo("same.bmp"), save_photo("b.png", seed=1)
    assert match_anchors({str(bmp): None}) == (known, {"one"})
    assert match_anchors({str(bmp): None, "gone.png": "f"}) == (known, {"one", "two"})
    assert match_anchors({str(path): None, str(other): hashlib.sha256(other.read_bytes()).hexdigest()}) is None
    assert match_anchors({"gone.png": None}) is None and match_anchors({}) is None


def test_the_shape_is_part_of_the_hash() -> None:
    flat = np.zeros((2, 6, 3), np.uint8)
    assert pixels_hash(Pixels(flat, False)) != pixels_hash(Pixels(flat.reshape(6, 2, 3), False))
