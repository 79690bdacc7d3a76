"""Arrays and Pillow: .rdo files read and written in one call."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import codec
import codec.images.pillow as plugin
from codec import coding
from codec.picture_files import REFINERS, encode_any, imread, imwrite
from tests.codec.images.test_colour import srgb_icc, swapped_icc
from tests.codec.images.test_metadata import PACKET, fields_of, phone_exif


@pytest.fixture
def picture(photo: Any) -> Any:
    return photo(48, 72)


@pytest.fixture(autouse=True)
def tiny(tiny_codec: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny codec, whose files are read although it is not installed."""
    monkeypatch.setattr(plugin, "_used", [tiny_codec])
    return tiny_codec


@pytest.mark.parametrize("grey", [False, True])
def test_arrays_go_into_files_and_come_out(picture: Any, tiny: Any, tmp_path: Path, grey: bool) -> None:
    array = picture[..., 0] if grey else picture
    path, stream = tmp_path / "a.rdo", io.BytesIO()
    imwrite(path, array, quality=5, model=tiny)
    imwrite(stream, array[..., None] if grey else array, quality=5, model=tiny)
    assert path.read_bytes() == stream.getvalue()
    header = codec.unpack(path.read_bytes()).header
    assert header.grey == grey and header.quality == 5
    right = codec.decode(tiny, path.read_bytes()).pixels.data
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        found = imread(source, model=tiny)
        assert found.dtype == np.uint8 and np.array_equal(found, right[..., 0] if grey else right)


def test_the_installed_model_is_loaded_once_and_found_by_its_id(picture: Any, tmp_path: Path) -> None:
    imwrite(tmp_path / "a.rdo", picture)
    data = (tmp_path / "a.rdo").read_bytes()
    assert codec.unpack(data).header.model_id == codec.model_id(codec.load("small"))
    found = imread(tmp_path / "a.rdo")
    assert np.array_equal(found, codec.decode(codec.load("small"), data).pixels.data)
    with Image.open(tmp_path / "a.rdo") as image:
        assert np.array_equal(np.asarray(image), found)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.tif", "TIFF")])
def test_other_formats_are_written_by_suffix(picture: Any, tmp_path: Path, name: str, kind: str) -> None:
    imwrite(tmp_path / name, picture, quality=None if kind != "JPEG" else 80)
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
    if kind != "JPEG":
        assert np.array_equal(imread(tmp_path / name), picture)


def test_urls_are_those_of_fsspec(picture: Any) -> None:
    pytest.importorskip("fsspec")
    imwrite("memory://folder/a.png", picture)
    assert np.array_equal(imread("memory://folder/a.png"), picture)


@pytest.mark.parametrize(
    ("array", "settings", "text"),
    [
        (np.zeros((4, 4, 3)), {}, r"array of float64 \(4, 4, 3\): must be uint8"),
        (np.zeros((4, 4, 4), np.uint8), {}, r"array of uint8 \(4, 4, 4\): must be"),
        (np.zeros((0, 4), np.uint8), {}, r"array of uint8 \(0, 4\): must be"),
        (np.zeros((4, 4), np.uint8), {"format": "gif"}, "format 'gif': choose one of png"),
        (np.zeros((4, 4), np.uint8), {"format": "png", "iters": 3}, "of .rdo files alone, but the format is png"),
        (np.zeros((4, 4), np.uint8), {"quality": 9}, "quality 9"),
    ],
)
def test_what_makes_no_sense_is_refused(array: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(codec.ConfigError, match=text):
        imwrite(io.BytesIO(), array, **settings)


def declare_refiner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package on the path that declares what pyproject.toml does, as if it were installed."""
    info = folder / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{REFINERS}]\nrdo = rdo:encode\n")
    monkeypatch.syspath_prepend(str(folder))


def test_refinement_is_found_by_its_entry_point(
    picture: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rdo

    declare_refiner(tmp_path, monkeypatch)
    pixels = codec.Pixels(picture, False)
    right = rdo.encode(tiny, pixels, quality=4, iters=4, exact="never")
    found = encode_any(pixels, quality=4, iters=4, exact="never", model=tiny)
    assert found == right != coding.encode(tiny, pixels, 4)
    Image.fromarray(picture).save(tmp_path / "a.rdo", quality=4, iters=4, exact="never", model=tiny)
    assert (tmp_path / "a.rdo").read_bytes() == right


def test_without_the_package_of_refinement_its_name_is_told(picture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.picture_files.entry_points", lambda group: ())
    with pytest.raises(codec.ConfigError, match="iters 3: refinement is in the package rdo"):
        imwrite(io.BytesIO(), picture, iters=3)


def test_declared_in_pyproject() -> None:
    import tomllib

    found = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert found["project"]["entry-points"][REFINERS] == {"rdo": "rdo:encode"}


def test_pillow_opens_lazily_and_decodes_what_was_written(picture: Any, tiny: Any, tmp_path: Path) -> None:
    Image.fromarray(picture).save(tmp_path / "a.rdo", quality=5, model=tiny, exact="never")
    data = (tmp_path / "a.rdo").read_bytes()
    assert data == coding.encode(tiny, codec.Pixels(picture, False), 5)
    with Image.open(tmp_path / "a.rdo") as image:
        assert (image.format, image.mode, image.size, image.info["quality"]) == ("RDO", "RGB", (72, 48), 5)
        assert image.get_format_mimetype() == "image/x-rdo"
        assert np.array_equal(np.asarray(image), codec.decode(tiny, data).pixels.data)
        image.thumbnail((20, 20))
        assert image.size == (20, 13)
    grey = Image.fromarray(picture[..., 0])
    file = io.BytesIO()
    grey.save(file, "RDO", model=tiny)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        assert image.mode == "L" and image.copy().size == (72, 48)


@pytest.mark.parametrize("iters", [0, 2])
def test_pillow_stores_drawings_losslessly(tiny: Any, tmp_path: Path, monkeypatch: Any, iters: int) -> None:
    declare_refiner(tmp_path, monkeypatch)
    drawing = np.full((80, 100, 3), (255, 0, 255), np.uint8)
    for name, settings in {"auto": {}, "all": {"exact": "all"}}.items():
        Image.fromarray(drawing).save(tmp_path / f"{name}.rdo", model=tiny, iters=iters, **settings)
        assert np.array_equal(imread(tmp_path / f"{name}.rdo", model=tiny), drawing)
        assert (tmp_path / f"{name}.rdo").stat().st_size < 100


def test_pillow_keeps_metadata_and_profiles(picture: Any, tiny: Any) -> None:
    file, icc = io.BytesIO(), swapped_icc()
    image = Image.fromarray(picture)
    image.save(file, "RDO", model=tiny, exif=b"Exif\0\0" + phone_exif(0), xmp=PACKET, icc_profile=icc)
    with Image.open(io.BytesIO(file.getvalue())) as found:
        assert fields_of(found.info["exif"]) == fields_of(phone_exif(0)) and found.getexif()[0x010F] == "Apple"
        assert found.info["xmp"] == PACKET and found.info["icc_profile"] == icc
    file = io.BytesIO()
    image.save(file, "RDO", model=tiny, icc_profile=srgb_icc())
    assert file.getvalue() == codec.encode(tiny, codec.Pixels(picture, False)), "sRGB needs no profile"


def test_arrays_of_wide_gamut_files_are_srgb(picture: Any, tiny: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "RDO", model=tiny, icc_profile=swapped_icc())
    stored = codec.decode(tiny, file.getvalue()).pixels.data
    found = imread(file.getvalue(), model=tiny).astype(int)
    assert np.abs(found - stored[..., ::-1]).max() <= 2, "red and blue are exchanged in that space"


def test_pillow_gets_its_own_errors(picture: Any, tiny: Any, tmp_path: Path) -> None:
    image = Image.fromarray(picture)
    with pytest.raises(OSError, match="cannot write mode RGBA as RDO"):
        image.convert("RGBA").save(tmp_path / "a.rdo", model=tiny)
    with pytest.raises(OSError, match="quality 9"):
        image.save(tmp_path / "a.rdo", quality=9, model=tiny)
    image.save(tmp_path / "a.rdo", model=tiny)
    data = bytearray((tmp_path / "a.rdo").read_bytes())
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(bytes(data[:-1])))
    plugin._used.clear()
    with Image.open(io.BytesIO(bytes(data))) as found, pytest.raises(OSError, match="which is not installed"):
        found.load()


def test_the_plugin_is_light_until_a_file_is_opened() -> None:
    program = "import codec.images.pillow, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
