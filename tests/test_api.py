"""The door for researchers: public names of `codec` and `rdo`, and files refined by `rdo.encode`."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import codec
import rdo
from codec.coding import encode
from codec.model import Codec

Photo = Callable[..., NDArray[np.uint8]]


def fresh(program: str, **environment: str) -> str:
    """Output of a program in a new process, in which warnings are errors."""
    kept = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("package", [codec, rdo], ids=lambda package: package.__name__)
def test_every_public_name_is_listed_and_imported(package: Any) -> None:
    assert dir(package) == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nope'"):
        _ = package.nope


def test_imports_are_light_and_set_what_torch_reads() -> None:
    program = "import codec, rdo, os, sys; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    assert fresh(program) == "False PASSIVE"
    assert fresh(program, OMP_WAIT_POLICY="ACTIVE") == "False ACTIVE"


def test_functions_are_no_modules_whatever_was_imported_before() -> None:
    program = """
import codec, rdo
codec.load, rdo.refine
import rdo.rd_curves, rdo.encoding, rdo.refinement
print(rdo.refine.__name__, rdo.bd_rate.__name__, rdo.encode.__name__)
"""
    assert fresh(program) == "refine bd_rate encode"


def test_errors_are_caught_by_their_public_names(tiny_codec: Codec) -> None:
    with pytest.raises(codec.BitstreamError):
        codec.decode(tiny_codec, b"RDO")
    with pytest.raises(codec.RdoError):
        tiny_codec.level(9)


def cost(model: Codec, pixels: codec.Pixels, data: bytes, lmbda: float) -> float:
    error = codec.decode(model, data).pixels.data.astype(float) - pixels.data
    return 8 * len(data) / (pixels.width * pixels.height) + lmbda * float(np.square(error).mean())


def psnr_db(model: Codec, pixels: codec.Pixels, data: bytes) -> float:
    error = codec.decode(model, data).pixels.data.astype(float) - pixels.data
    return float(10 * np.log10(255**2 / np.square(error).mean()))


@pytest.mark.parametrize("iters", [0, 6])
@pytest.mark.usefixtures("one_start")
def test_encode_is_never_worse_than_plain(tiny_codec: Codec, photo: Photo, iters: int) -> None:
    pixels = codec.Pixels(photo(70, 90), grey=False)
    plain = encode(tiny_codec, pixels, 3)
    data = rdo.encode(tiny_codec, pixels, exact="never", quality=3, iters=iters)
    lmbda = codec.lmbda_of(3)
    assert codec.unpack(data)[0].quality == 3
    assert cost(tiny_codec, pixels, data, lmbda) < cost(tiny_codec, pixels, plain, lmbda) if iters else data == plain


@pytest.mark.usefixtures("one_start")
def test_encode_keeps_the_plain_file_where_refining_lost(
    tiny_codec: Codec, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rdo import encoding

    honest = encoding.refine

    def refine_badly(*args: Any, **settings: Any) -> rdo.Refined:
        refined = honest(*args, **settings)
        refined.latents.y.add_(5)
        return refined

    pixels = codec.Pixels(photo(70, 90), grey=False)
    monkeypatch.setattr(encoding, "refine", refine_badly)
    assert rdo.encode(tiny_codec, pixels, exact="never", quality=3, iters=1) == encode(tiny_codec, pixels, 3)


def test_encode_meets_targets(tiny_codec: Codec, photo: Photo) -> None:
    pixels = codec.Pixels(photo(128, 128), grey=False)
    wanted = round((len(encode(tiny_codec, pixels, 3)) * len(encode(tiny_codec, pixels, 5))) ** 0.5)
    data = rdo.encode(tiny_codec, pixels, exact="never", iters=8, target_bytes=wanted)
    assert 0.95 * wanted <= len(data) <= wanted
    assert len(rdo.encode(tiny_codec, pixels, exact="never", iters=8, target_bpp=8 * wanted / 128**2)) <= wanted
    wanted_db = psnr_db(tiny_codec, pixels, rdo.encode(tiny_codec, pixels, exact="never", quality=4, iters=8))
    data = rdo.encode(tiny_codec, pixels, exact="never", iters=8, target_psnr_db=wanted_db)
    assert abs(psnr_db(tiny_codec, pixels, data) - wanted_db) <= 0.05


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"target_bytes": 900, "quality": 3}, "settles quality and lmbda"),
        ({"target_bytes": 900, "target_psnr_db": 30}, "give one of target_bytes"),
        ({"target_bpp": 0.0}, "target 0: must be positive"),
        ({"quality": 9}, "quality 9: must lie"),
        ({"iters": -1}, "iters -1"),
    ],
)
def test_encode_refuses_what_makes_no_sense(tiny_codec: Codec, photo: Photo, settings: Any, text: str) -> None:
    with pytest.raises(codec.ConfigError, match=text):
        rdo.encode(tiny_codec, codec.Pixels(photo(64, 64), grey=False), **settings)


def test_a_target_needs_a_variable_rate(make_zoo_codec: Callable[..., Any], photo: Photo) -> None:
    with pytest.raises(codec.ConfigError, match="has quality 3 alone"):
        rdo.encode(make_zoo_codec("mbt2018-mean"), codec.Pixels(photo(64, 64), grey=False), target_bytes=500)
