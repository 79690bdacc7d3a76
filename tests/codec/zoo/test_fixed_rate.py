"""CompressAI's models: on their own grid, priced as they price, written and read by their own code."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("compressai", reason="needs CompressAI")

import codec as toolkit
from codec.coding import decode, encode, plain_latents, read, write
from codec.errors import BitstreamError, CheckpointError, ConfigError
from codec.identity import model_id
from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor
from codec.interface import Latents, rate
from codec.latents import same_symbols
from codec.loading import load
from codec.zoo import loading as zoo_load
from codec.zoo import streams
from codec.zoo.fixed_rate import MODELS, ZooCodec

NAMES = list(MODELS)
RASTER = ["mbt2018", "cheng2020-anchor", "cheng2020-attn"]
HEIGHT, WIDTH = 70, 90


@pytest.fixture(scope="module")
def pixels(photo: Callable) -> Pixels:
    return Pixels(photo(HEIGHT, WIDTH), grey=False)


@pytest.fixture(params=NAMES)
def model(request, make_zoo_codec) -> ZooCodec:
    return make_zoo_codec(request.param)


def padded(pixels: Pixels) -> Tensor:
    return pad(to_tensor(pixels), 64)


def plain(model: ZooCodec, pixels: Pixels) -> Latents:
    with torch.no_grad():
        return plain_latents(model, to_tensor(pixels), model.level(3))


def moved(model: ZooCodec, pixels: Pixels) -> Latents:
    """Latents that no picture gives: every tenth is a step off, and what depends on them follows."""
    start = plain(model, pixels)
    far = Latents(*(v + (torch.rand(v.shape) < 0.1) for v in start))
    grid = model.grid(far, model.level(3))
    return Latents(*((v - g).round() + g for v, g in zip(far, grid, strict=True)))


def test_plain_files_hold_the_strings_of_compress(model, pixels) -> None:
    with torch.no_grad():
        theirs = [strings[0] for strings in model.model.compress(padded(pixels))["strings"]]
    assert streams.compress(model.model, plain(model, pixels)) == theirs
    assert len(theirs) == streams.string_count(model.model)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in RASTER])  # their forward rounds off the writer's grid
def test_rate_is_that_of_the_models_own_forward(make_zoo_codec, pixels, name: str) -> None:
    model = make_zoo_codec(name)
    with torch.no_grad():
        theirs = {k: float(-v.log2().sum()) for k, v in model.model(padded(pixels))["likelihoods"].items()}
        y_bits, z_bits = rate(model, plain(model, pixels), model.level(3))
    assert float(y_bits) == pytest.approx(theirs["y"], rel=1e-4)
    assert float(z_bits) == pytest.approx(theirs.get("z", 0.0), rel=1e-4)


def test_files_are_as_long_as_estimated_and_give_the_latents_back(model, pixels) -> None:
    for latents in (plain(model, pixels), moved(model, pixels)):
        data = write(model, latents, width=WIDTH, height=HEIGHT, quality=3, grey=False)
        found = decode(model, data)
        assert same_symbols(found.latents, latents)
        with torch.no_grad():
            estimate = float(sum(rate(model, latents, model.level(3)))) / 8
            x_hat = crop(model.synthesise(found.latents, model.level(3)), HEIGHT, WIDTH)
        assert (found.pixels.data == from_tensor(x_hat, grey=False).data).all()
        overhead = 24 + 4 * streams.string_count(model.model)
        assert estimate * 0.98 <= len(data) - overhead <= estimate * 1.02 + 8 * streams.string_count(model.model)


def test_the_picture_is_that_of_decompress(model, pixels) -> None:
    latents = moved(model, pixels)
    strings = streams.compress(model.model, latents)
    hyper = (2, 2)
    given = [strings] if model.conditional is None else [[s] for s in strings]
    with torch.no_grad():
        theirs = model.model.decompress(given, streams._shape(model.model, hyper))["x_hat"]
        ours = model.synthesise(latents, model.level(3)).clamp(0, 1)
    assert torch.allclose(theirs, ours, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if "factorized" not in n])
def test_following_a_decoder_agrees_with_one_pass(make_zoo_codec, pixels, name: str) -> None:
    model = make_zoo_codec(name)
    start = plain(model, pixels)
    with torch.no_grad():
        grid = model.grid(start, model.level(3))
        once = model.mixture(start.y, start.z, model.level(3))
    assert torch.allclose(once.means, grid.y, atol=1e-5)
    symbols = (start.y - grid.y).round()
    assert torch.allclose(start.y, symbols + grid.y, atol=1e-5) and float(symbols.abs().max()) >= 2
    assert model.depends_on_z == (float((grid.y - grid.y.round()).abs().max()) > 0.1)


def test_the_model_is_whole_again_after_writing_and_reading(model, pixels) -> None:
    before = [id(m) for m in model.modules()]
    decode(model, encode(model, pixels))
    assert [id(m) for m in model.modules()] == before


def test_a_pass_leaves_weights_and_id_alone(model, pixels) -> None:
    """A recorded pass reads the very memory, and files name the id."""
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    named = model_id(model)
    latents = plain(model, pixels)
    with torch.no_grad():
        model.mixture(*latents, model.level(3))
    after = model.state_dict()
    assert all(after[name].data_ptr() == at and torch.equal(after[name], was) for name, (at, was) in before.items())
    assert model_id(model) == named


def test_one_models_file_is_refused_by_another(make_zoo_codec, tiny_codec, pixels) -> None:
    data = encode(make_zoo_codec("mbt2018-mean"), pixels)
    for other in (make_zoo_codec("mbt2018-mean", seed=1), make_zoo_codec("mbt2018"), tiny_codec):
        with pytest.raises(BitstreamError, match="written by model"):
            read(other, data)


def test_a_damaged_or_forged_stream_is_refused(make_zoo_codec, pixels) -> None:
    model = make_zoo_codec("mbt2018-mean")
    data = encode(model, pixels)
    for position in range(24, len(data), 37):
        with pytest.raises(BitstreamError):
            read(model, data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
    words = model.to_words(plain(model, pixels), model.level(3))
    for forged in (words[:1], words[:-1], torch.zeros(2).numpy().astype("uint32")):
        with pytest.raises(BitstreamError, match="forged"):
            model.from_words(forged, WIDTH, HEIGHT, model.level(3))


def test_latents_that_are_no_numbers_are_refused(make_zoo_codec, pixels) -> None:
    model = make_zoo_codec("mbt2018-mean")
    broken = plain(model, pixels)._replace(y=torch.full((1, 16, 8, 8), float("nan")))
    with pytest.raises(BitstreamError, match="not finite"):
        write(model, broken, width=WIDTH, height=HEIGHT, quality=3, grey=False)


def test_latents_of_another_size_are_refused(make_zoo_codec, pixels) -> None:
    model = make_zoo_codec("mbt2018-mean")
    with pytest.raises(ConfigError, match=r"needs \(\(1, 16, 4, 4\), \(1, 8, 1, 1\)\)"):
        write(model, plain(model, pixels), width=64, height=64, quality=3, grey=False)


def test_there_is_one_quality(make_zoo_codec) -> None:
    model = make_zoo_codec("mbt2018-mean")
    assert model.level(model.default_quality).tolist() == [3.0] and model.lmbda_of(3) == 0.0067
    with pytest.raises(ConfigError, match="compressai:mbt2018-mean:3 has quality 3 alone"):
        model.level(4.0)


@pytest.mark.parametrize("name", ["bmshj2018-factorized", "mbt2018-mean", "cheng2020-anchor"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_loads_checkpoints_as_compressai_saves_them(make_zoo_codec, pixels, tmp_path: Path, name, wrapped) -> None:
    model = make_zoo_codec(name)
    weights = model.model.state_dict()
    path = tmp_path / "weights.pth.tar"
    torch.save({"epoch": 1, "state_dict": weights} if wrapped else weights, path)
    found = toolkit.load(f"compressai:{name}:3:{path}")
    assert model_id(found) == model_id(model)
    assert encode(found, pixels) == encode(model, pixels)


def test_makes_the_tables_that_a_checkpoint_lacks(make_zoo_codec, pixels, tmp_path: Path) -> None:
    model = make_zoo_codec("mbt2018-mean")
    bare = {k: v[:0] if v.dtype == torch.int32 else v for k, v in model.model.state_dict().items()}
    bare["gaussian_conditional.scale_table"] = torch.empty(0)
    torch.save(bare, tmp_path / "bare.pth")
    found = load(f"compressai:mbt2018-mean:3:{tmp_path / 'bare.pth'}")
    assert encode(found, pixels) == encode(model, pixels)


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ("mbt2019:3:f", ConfigError, "no such model; there are bmshj2018-factorized"),
        ("mbt2018-mean", ConfigError, "write its quality"),
        ("mbt2018-mean:9:f", ConfigError, "write its quality"),
        ("mbt2018-mean:3:missing.pth", CheckpointError, "missing.pth: .*name other weights"),
        ("elic2022-official:3", CheckpointError, "no weights are published"),
    ],
)
def test_what_cannot_be_loaded_is_said(spec: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        load(f"compressai:{spec}")


def test_weights_of_another_model_and_files_that_are_none(make_zoo_codec, tmp_path: Path) -> None:
    torch.save(make_zoo_codec("cheng2020-anchor").model.state_dict(), tmp_path / "cheng.pth")
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, text in (("cheng", "no weights of mbt2018-mean"), ("text", "name other weights"), ("list", "no weights")):
        with pytest.raises(CheckpointError, match=text):
            load(f"compressai:mbt2018-mean:3:{tmp_path / name}.pth")


@pytest.mark.parametrize("spec", ["mbt2018-mean:3", "mbt2018-mean-vbr"])
def test_published_weights_are_downloaded_once_and_checked(
    make_zoo_codec, monkeypatch, tmp_path: Path, pixels, serve: Callable[[Path], str], spec: str
) -> None:
    import hashlib

    from compressai.zoo import image, image_vbr

    model = make_zoo_codec(spec.partition(":")[0])
    torch.save(model.model.state_dict(), tmp_path / "weights")
    digest = hashlib.sha256((tmp_path / "weights").read_bytes()).hexdigest()[:8]
    good, bad = (f"tiny-{d}.pth.tar" for d in (digest, "0" * 8))
    for name in (good, bad):
        shutil.copy(tmp_path / "weights", tmp_path / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    urls, key = (image_vbr.model_urls[spec], "mse") if "vbr" in spec else (image.model_urls["mbt2018-mean"]["mse"], 3)
    address = serve(tmp_path)
    monkeypatch.setitem(urls, key, f"{address}/{good}")
    assert encode(zoo_load.load(spec), pixels) == encode(model, pixels)
    (tmp_path / good).unlink()
    assert model_id(zoo_load.load(spec)) == model_id(model)  # from the cache
    for name in (bad, "absent-12345678.pth.tar"):
        monkeypatch.setitem(urls, key, f"{address}/{name}")
        with pytest.raises(CheckpointError, match=f"{name}: .*name its file after the model"):
            zoo_load.load(spec)


@pytest.fixture
def serve() -> Callable[[Path], str]:
    """Serves a folder on this machine."""
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
