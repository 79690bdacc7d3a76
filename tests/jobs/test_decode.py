"""`rdo-decode`: where pictures go, and that one bad file stops no other."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.bitstream.container import unpack
from codec.coding import decode, encode
from codec.errors import ConfigError
from codec.images.pixels import Pixels
from jobs.running.decode_settings import output_names


@pytest.fixture
def files(folder: Path, rdo_bytes: bytes) -> list[Path]:
    """Two files, one in a folder of its own."""
    paths = [folder / "in/a.jpg.rdo", folder / "in/sub/b.rdo"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rdo_bytes)
    return paths


def pngs(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix.lower() == ".png"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["in"], {"in/a.jpg.png", "in/sub/b.png"}),
        (["-o", "out", "in"], {"out/a.jpg.png", "out/sub/b.png"}),
        (["in/a.jpg.rdo"], {"in/a.jpg.png"}),
        (["-o", "out", "in/sub/b.rdo"], {"out/b.png"}),
        (["-o", "x/y.png", "in/a.jpg.rdo"], {"x/y.png"}),
        (["-o", "x/Y.PNG", "in/a.jpg.rdo"], {"x/Y.PNG"}),
    ],
)
def test_names_and_pixels(files, rdo_decode, codec, rdo_bytes, pixels_of, folder, arguments, expected) -> None:
    assert rdo_decode(*arguments) == 0
    assert pngs(folder) == expected
    for name in expected:
        assert np.array_equal(pixels_of(folder / name), decode(codec, rdo_bytes).pixels.data)


def test_grey_stays_grey(folder: Path, rdo_decode, codec, photo, pixels_of) -> None:
    grey = np.repeat(photo(9, 14)[..., :1], 3, axis=2)
    (folder / "a.rdo").write_bytes(encode(codec, Pixels(grey, grey=True)))
    assert rdo_decode("a.rdo") == 0 and pixels_of(folder / "a.png").shape == (9, 14)


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["in/a.rdo", "other/a.rdo"], "out", "would become the same picture"),
        (["in/a.rdo", "in/b.rdo"], "one.png", "one.png: names one picture, but there are 2"),
        (["in/a.rdo", "in/b.rdo"], "-", "names one picture, but there are 2"),
        (["-", "in/a.rdo"], None, "standard input is one file"),
        (["-"], "folder", "standard input has no name"),
        (["in/a.rdo"], "one.gif", "one.gif: name a folder, or one picture that ends in one of .png .jpg .webp"),
        (["empty"], None, "empty: no .rdo files found"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, inputs: list[str], output: str | None, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        output_names(inputs, output)


def test_a_file_named_twice_is_decoded_once() -> None:
    assert output_names(["in/a.rdo", "in/a.rdo"], "out") == [("in/a.rdo", "out/a.png")]


def test_refusals_are_status_2(files, rdo_decode, folder: Path, capsys) -> None:
    assert rdo_decode("-o", "one.png", "in") == 2
    assert rdo_decode("--device", "nonesuch", "in") == 2
    assert capsys.readouterr().err.count("error: ") == 2 and not pngs(folder)


def test_bad_files_are_told_and_the_rest_decoded(files, rdo_decode, rdo_bytes, folder: Path, capsys) -> None:
    bad = {
        "cut.rdo": (rdo_bytes[:-3], "truncated"),
        "head.rdo": (rdo_bytes[:10], "truncated"),
        "empty.rdo": (b"", "empty file of 0 bytes"),
        "foreign.rdo": (b"\x89PNG\r\n\x1a\n" + bytes(60), "not an .rdo file"),
        "altered.rdo": (rdo_bytes[:-1] + bytes([rdo_bytes[-1] ^ 1]), "checksum mismatch"),
    }
    for name, (data, _) in bad.items():
        (folder / "in" / name).write_bytes(data)
    assert rdo_decode("in", "missing.rdo") == 1
    lines = capsys.readouterr().err.splitlines()
    for name, (_, hint) in bad.items():
        assert any(f"in/{name}: " in line and hint in line for line in lines)
    assert any("missing.rdo: No such file" in line for line in lines)
    assert pngs(folder) == {"in/a.jpg.png", "in/sub/b.png"} and not list(folder.rglob("*.part"))


def test_another_models_file_is_refused_by_name(files, other_model, folder: Path, capsys) -> None:
    from jobs.decode import main

    assert main(["--model", other_model, "in/a.jpg.rdo"]) == 1
    assert "in/a.jpg.rdo: written by model" in (told := capsys.readouterr().err) and "--model" in told
    assert not pngs(folder)


def test_files_of_several_installed_models_are_read_at_once(folder: Path, pixels_of, capsys) -> None:
    from codec.loading import load
    from jobs.decode import main
    from jobs.info import main as show

    pixels = Pixels(np.arange(40 * 56 * 3, dtype=np.uint8).reshape(40, 56, 3), grey=False)
    expected = {}
    (folder / "in").mkdir()
    for name in ("small", "small-ms-ssim"):
        data = encode(load(name), pixels, 3.0)
        expected[name] = decode(load(name), data).pixels.data
        (folder / f"in/{name}.rdo").write_bytes(data)
    assert main(["in"]) == 0 and show(["in"]) == 0
    told = capsys.readouterr().out
    for name, data in expected.items():
        np.testing.assert_array_equal(pixels_of(folder / f"in/{name}.png"), data)
        assert f"model     {name} (" in told


def test_existing_pictures_are_not_overwritten(files, rdo_decode, folder: Path, capsys) -> None:
    mine = folder / "in/a.jpg.png"
    mine.write_bytes(b"mine")
    assert rdo_decode("in") == 1
    assert mine.read_bytes() == b"mine" and (folder / "in/sub/b.png").exists()
    assert "in/a.jpg.rdo: in/a.jpg.png exists: name another with -o, or pass --overwrite" in capsys.readouterr().err
    assert rdo_decode("--overwrite", "in") == 0
    assert mine.read_bytes()[:4] == b"\x89PNG"


def test_a_failure_overwrites_nothing(rdo_decode, rdo_bytes, folder: Path) -> None:
    (folder / "a.rdo").write_bytes(rdo_bytes[:-1])
    (folder / "a.png").write_bytes(b"mine")
    assert rdo_decode("--overwrite", "a.rdo") == 1 and (folder / "a.png").read_bytes() == b"mine"


def test_standard_input_and_output(files, rdo_decode, rdo_bytes, stdin, folder: Path, capfdbinary) -> None:
    assert rdo_decode("in/a.jpg.rdo") == 0
    png = (folder / "in/a.jpg.png").read_bytes()
    stdin(rdo_bytes)
    assert rdo_decode("-") == 0 and capfdbinary.readouterr().out == png
    assert rdo_decode("-o", "-", "in/a.jpg.rdo") == 0 and capfdbinary.readouterr().out == png
    stdin(rdo_bytes)
    assert rdo_decode("-o", "x.png", "-") == 0 and (folder / "x.png").read_bytes() == png
    stdin(rdo_bytes[:30])
    assert rdo_decode("-") == 1
    out, told = capfdbinary.readouterr()
    assert out == b"" and b"-: truncated" in told


@pytest.mark.parametrize("step", ["PIL.Image.Image.save", "codec.files.os.fsync"])
def test_a_full_disk_leaves_nothing(files, rdo_decode, folder: Path, monkeypatch, capsys, step: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    assert rdo_decode("in") == 1
    assert capsys.readouterr().err.count("No space left on device: check the disk") == 2
    assert not pngs(folder) and not list(folder.rglob("*.part"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "ppm"])
def test_a_picture_larger_than_a_file_may_be_says_so(folder: Path, rdo_decode, codec, photo, suffix, capsys) -> None:
    resource = pytest.importorskip("resource", reason="needs limits of the size of files")
    (folder / "a.rdo").write_bytes(encode(codec, Pixels(photo(200, 300), grey=False)))
    (folder / f"x.{suffix}").write_bytes(b"mine")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        status = rdo_decode("--overwrite", "-o", f"x.{suffix}", "a.rdo")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1 and "File too large: check the disk" in capsys.readouterr().err
    assert (folder / f"x.{suffix}").read_bytes() == b"mine" and not list(folder.glob(".rdo-*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_or_device_is_written_into(files, rdo_decode, folder: Path) -> None:
    assert rdo_decode("-o", "x.png", "in/a.jpg.rdo") == 0
    os.mkfifo("pipe.png")
    Path("null.png").symlink_to("/dev/null")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(Path("pipe.png").read_bytes)
        assert rdo_decode("-o", "pipe.png", "in/a.jpg.rdo") == 0
        assert read.result(timeout=60) == Path("x.png").read_bytes()
    assert Path("pipe.png").is_fifo()
    for flags in ((), ("--overwrite",)):
        assert rdo_decode("-o", "null.png", *flags, "in/a.jpg.rdo") == 0 and Path("null.png").is_symlink()


def test_a_large_file_of_the_name_is_not_read(files, rdo_decode, folder: Path, monkeypatch, capsys) -> None:
    with open("x.png", "wb") as file:
        file.truncate(1 << 40)
    assert rdo_decode("-o", "x.png", "in/a.jpg.rdo") == 1 and "x.png exists: name another" in capsys.readouterr().err
    assert rdo_decode("-o", "x.png/sub/", "in/a.jpg.rdo") == 1 and "Not a directory" in capsys.readouterr().err


def test_a_second_run_leaves_what_is_decoded_and_tells_where_it_is(files, rdo_decode, folder: Path, capsys) -> None:
    assert rdo_decode("in") == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    (folder / "in/sub/b.png").unlink()
    assert rdo_decode("in") == 0
    assert set(folder.rglob("*.png")) == before.keys()
    assert (folder / "in/a.jpg.png").stat().st_mtime_ns == before[folder / "in/a.jpg.png"]
    capsys.readouterr()
    assert rdo_decode("-o", "one.png", "in/sub/b.rdo") == 0
    assert capsys.readouterr().err == "the picture is one.png\n"


FORMATS = [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF"), ("tiff", "TIFF")]
FORMATS += [("ppm", "PPM"), ("jxl", "JXL")]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("suffix", "kind"), FORMATS)
def test_formats_by_suffix(folder, rdo_decode, codec, photo, suffix: str, kind: str, grey: bool) -> None:
    if suffix == "jxl":
        pytest.importorskip("pillow_jxl", reason="needs the extra `formats`: pillow-jxl-plugin")
    data = np.repeat(photo(40, 56)[..., :1], 3, axis=2) if grey else photo(40, 56)
    (folder / "a.rdo").write_bytes(encode(codec, Pixels(data, grey)))
    for _ in range(2):  # the second time the picture is there, with the same bytes
        assert rdo_decode("-o", f"x.{suffix}", "a.rdo") == 0
    right = decode(codec, (folder / "a.rdo").read_bytes()).pixels.data
    with Image.open(folder / f"x.{suffix}") as image:
        assert image.format == kind and image.size == (56, 40)
        assert (image.mode == "L") == (grey and suffix not in ("webp", "avif"))
        error = np.abs(np.asarray(image.convert("RGB"), int) - right)
    assert (
        error.max() == 0 if suffix in ("png", "tiff", "ppm") else error.mean() < (60 if suffix == "webp" else 20)
    )  # noise


def test_formats_quality_and_options_are_passed_on(
    files, rdo_decode, rdo_bytes, codec, pixels_of, folder: Path
) -> None:
    right = decode(codec, rdo_bytes).pixels.data
    sizes = {}
    for quality in (20, 90):
        assert rdo_decode("-o", f"{quality}.jpg", "--quality", quality, "in/sub/b.rdo") == 0
        sizes[quality] = (folder / f"{quality}.jpg").stat().st_size
    assert sizes[20] < sizes[90]
    assert rdo_decode("-o", "c.jpg", "--quality", "90", "--option", "subsampling=2", "in/sub/b.rdo") == 0
    assert (folder / "c.jpg").stat().st_size < sizes[90]
    assert rdo_decode("--format", "webp", "--lossless", "-o", "out", "in") == 0
    for name in ("a.jpg.webp", "sub/b.webp"):
        assert np.array_equal(pixels_of(folder / "out" / name), right)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-o", "a.png", "--format", "jpeg"], "its suffix is that of png, but --format is jpeg"),
        (["-o", "a.png", "--quality", "50"], "quality 50: png loses nothing; jpeg, webp, avif, jxl have a quality"),
        (["-o", "a.jpg", "--quality", "0"], "quality 0: must lie between 1 and 100"),
        (["-o", "a.webp", "--quality", "9", "--lossless"], "quality 9: webp loses nothing"),
        (["-o", "a.avif", "--lossless"], "lossless: avif has no such mode"),
        (["--option", "subsampling"], "--option subsampling: write KEY=VALUE"),
    ],
)
def test_what_a_format_lacks_is_refused(
    files, rdo_decode, folder: Path, flags: list[str], message: str, capsys
) -> None:
    assert rdo_decode(*flags, "in/sub/b.rdo") == 2
    assert message in capsys.readouterr().err and not pngs(folder)


def test_pictures_are_shown(files, rdo_decode, folder: Path, monkeypatch, capsys) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda uri: shown.append(uri) or len(shown) == 1)
    assert rdo_decode("--open", "in/sub/b.rdo") == 0
    assert shown == [(folder / "in/sub/b.png").as_uri()]
    assert rdo_decode("--open", "in/sub/b.rdo") == 0
    assert "no program was found to show it" in capsys.readouterr().err


@pytest.fixture
def tiled(folder: Path, codec, photo) -> bytes:
    data = encode(codec, Pixels(photo(150, 200), grey=False), 5, tile=64)
    (folder / "t.rdo").write_bytes(data)
    return data


def test_a_crop_is_a_part_of_the_picture(tiled: bytes, rdo_decode, codec, pixels_of) -> None:
    assert rdo_decode("--crop", "70x20+100+90", "t.rdo") == 0
    assert np.array_equal(pixels_of(Path("t.png")), decode(codec, tiled).pixels.data[90:110, 100:170])


@pytest.mark.parametrize(
    "crop", ["", "70x20", "0x20+1+1", "5x0+1+1", "axb+c+d", "-5x5+1+1", "5x5+-1+1", "9" * 10 + "x1+1+1"]
)
def test_crops_are_written_as_documented(tiled: bytes, rdo_decode, capsys, crop: str) -> None:
    assert rdo_decode(f"--crop={crop}", "t.rdo") == 2
    assert f"--crop {crop}: write WxH+X+Y in pixels" in capsys.readouterr().err


def test_a_crop_beyond_the_picture_fails_its_file(tiled: bytes, rdo_decode, capsys) -> None:
    assert rdo_decode("--crop", "101x20+100+90", "t.rdo") == 1 and not Path("t.png").exists()
    assert "t.rdo: crop 101x20+100+90: must lie within the picture, 200x150 pixels" in capsys.readouterr().err


def test_salvage_writes_the_rest_and_says_what_is_lost(tiled: bytes, rdo_decode, codec, pixels_of, capsys) -> None:
    at = unpack(tiled).header_bytes
    Path("t.rdo").write_bytes(tiled[:at] + bytes([tiled[at] ^ 1]) + tiled[at + 1 :])
    assert rdo_decode("t.rdo") == 1 and not Path("t.png").exists()
    assert "t.rdo: checksum mismatch: tile of columns 0..64, rows 0..64 was altered" in capsys.readouterr().err
    assert rdo_decode("--salvage", "t.rdo") == 1
    told = capsys.readouterr().err
    assert "t.rdo: damaged, t.png is what is left: lost tile of columns 0..64, rows 0..64" in told
    whole, found = decode(codec, tiled).pixels.data, pixels_of(Path("t.png"))
    assert np.all(found[:64, :64] == 128) and np.array_equal(found[128:, 128:], whole[128:, 128:])
    Path("t.rdo").write_bytes(tiled)
    assert rdo_decode("--salvage", "--overwrite", "t.rdo") == 0 and np.array_equal(pixels_of(Path("t.png")), whole)


def test_salvage_of_one_tile_is_refused(folder: Path, rdo_decode, rdo_bytes: bytes, capsys) -> None:
    Path("a.rdo").write_bytes(rdo_bytes[:-1])
    assert rdo_decode("--salvage", "a.rdo") == 1 and "a.rdo: truncated or extended" in capsys.readouterr().err


def test_larger_pictures_are_refused(tiled: bytes, rdo_decode, capsys) -> None:
    assert rdo_decode("--max-megapixels", "0.02", "t.rdo") == 1
    assert (
        "t.rdo: 200x150 pixels: over 0.02 megapixels: raise --max-megapixels, or --crop it" in capsys.readouterr().err
    )
    assert rdo_decode("--max-megapixels", "0.03", "t.rdo") == 0
    assert rdo_decode("--max-megapixels", "-1", "t.rdo") == 2
