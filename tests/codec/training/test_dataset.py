"""Crops: cut where they were drawn, and a function of seed and step alone, from memory or a stream."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from codec.errors import ConfigError
from codec.training.dataset import DeviceCrops, Draw, draw_crops, load_photos, read_photo
from codec.training.streaming import AHEAD_FRACTION, CROPS_PER_PHOTO, StreamedCrops

Photo = Callable[..., NDArray[np.uint8]]
CPU = torch.device("cpu")
ALL = slice(None)


@pytest.fixture(scope="module")
def photos(photo: Photo) -> list[NDArray[np.uint8]]:
    return [photo(80, 130, 1), photo(70, 64, 2), photo(200, 64, 3), photo(63, 300, 4)]


@pytest.fixture(scope="module")
def folder(photo: Photo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of twelve photos, one too small, one unreadable."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        Image.fromarray(photo(30 if i == 3 else 70 + i, 90, i)).save(folder / f"{i:02}.png")
    (folder / "07.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


def cut(photo: NDArray[np.uint8], draw: Draw, size: int) -> NDArray[np.uint8]:
    crop = photo[draw.row : draw.row + size, draw.col : draw.col + size]
    crop = np.fliplr(crop) if draw.mirror else crop
    return np.swapaxes(crop, 0, 1) if draw.transpose else crop


def test_an_album_gathers_what_numpy_cuts(photos: list[NDArray[np.uint8]]) -> None:
    album = DeviceCrops(photos, CPU)
    for step in range(6):
        draws = draw_crops(album.sides, 64, 8, np.random.default_rng((5, step)))
        expected = np.stack([cut(photos[d.photo], d, 64) for d in draws]).transpose(0, 3, 1, 2)
        crops = album.crops(64, 8, 5, step, ALL)
        assert crops.dtype == torch.uint8 and crops.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(crops.numpy(), expected)


def test_crops_come_from_every_place_of_photos_that_fit(photos: list[NDArray[np.uint8]]) -> None:
    sides = np.array([p.shape[:2] for p in photos])
    draws = draw_crops(sides, 64, 4000, np.random.default_rng(0))
    assert {d.photo for d in draws} == {0, 1, 2}, "the last one is too low"
    share = np.bincount([d.photo for d in draws], minlength=4) / 4000
    assert share[:3] == pytest.approx(sides[:3].prod(1) / sides[:3].prod(1).sum(), abs=0.03)
    assert {d.row for d in draws if d.photo == 1} == set(range(7)) and {d.col for d in draws if d.photo == 1} == {0}
    assert {(d.mirror, d.transpose) for d in draws} == {(a, b) for a in (False, True) for b in (False, True)}


def test_crops_that_fit_no_photo_are_refused() -> None:
    with pytest.raises(ConfigError, match="no photo with sides of at least 128 pixels"):
        draw_crops(np.array([[127, 500]]), 128, 1, np.random.default_rng(0))


def test_shares_of_processes_make_up_the_batch(photos: list[NDArray[np.uint8]], folder: Path) -> None:
    for source in (DeviceCrops(photos, CPU), StreamedCrops(folder, 4, CPU)):
        whole = source.crops(64, 6, 1, 9, ALL)
        parts = [source.crops(64, 6, 1, 9, slice(rank, None, 3)) for rank in range(3)]
        assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_a_stream_draws_the_same_whenever_it_starts(folder: Path) -> None:
    steps = range(0, 40, 3)
    unbroken = StreamedCrops(folder, 4, CPU)
    seen = [unbroken.crops(64, 4, 2, step, ALL) for step in steps]
    for step, crops in zip(steps, seen, strict=True):
        assert torch.equal(StreamedCrops(folder, 4, CPU).crops(64, 4, 2, step, ALL), crops)
    assert not torch.equal(StreamedCrops(folder, 4, CPU).crops(64, 4, 3, 0, ALL), seen[0]), "another seed, other crops"


def test_a_stream_holds_no_more_than_its_window_and_shows_every_photo(
    folder: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codec.training import streaming as module

    honest, read = module.read_photo, list[str]()

    def watched(path: Path) -> NDArray[np.uint8] | None:
        read.append(path.name)
        return honest(path)

    monkeypatch.setattr(module, "read_photo", watched)
    stream = StreamedCrops(folder, 4, CPU)
    rounds = 2
    for step in range(rounds * 12 * CROPS_PER_PHOTO // 4):
        crops = stream.crops(64, 4, 0, step, ALL)
        assert crops.shape == (4, 3, 64, 64) and len(stream.futures) <= 4 * (1 + AHEAD_FRACTION)
    assert set(read) == {f"{i:02}.png" for i in range(12)}
    assert len(read) <= rounds * 12 + 4 * (1 + AHEAD_FRACTION), "a photo is decoded once each round"


def test_what_is_no_longer_wanted_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, begun, read = threading.Event(), threading.Event(), list[str]()
    honest = read_photo

    def slow(path: Path) -> NDArray[np.uint8] | None:
        read.append(path.name)
        begun.set()
        go.wait(60)
        return honest(path)

    monkeypatch.setattr("codec.training.streaming.read_photo", slow)
    stream = StreamedCrops(folder, 2, CPU)
    stream.pool = ThreadPoolExecutor(1)
    left = [stream._photo_future(at, 0) for at in range(6)]
    assert begun.wait(60)
    go.set()
    stream._window_photos(100, 0, 64)  # another window
    assert all(photo.cancelled() or photo.done() for photo in left) and set(stream.futures) == {100, 101, 102}

    go.clear()
    begun.clear()
    for at in range(200, 206):
        stream._photo_future(at, 0)
    assert begun.wait(60)
    before = len(read)
    stream.close()
    go.set()
    stream.pool.shutdown(wait=True)
    assert len(read) == before


def test_a_phase_of_smaller_batches_keeps_to_the_window(folder: Path) -> None:
    stream = StreamedCrops(folder, 4, CPU)
    for step in range(20):
        stream.crops(64, 8, 0, step, ALL)
    for step in range(20, 40):
        stream.crops(64, 2, 0, step, ALL)
        assert len(stream.futures) <= 4 * (1 + AHEAD_FRACTION)


def test_a_window_without_a_photo_that_fits_takes_the_next_that_does(photo: Photo, tmp_path: Path) -> None:
    for i in range(10):
        Image.fromarray(photo(80 if i == 6 else 30, 90, i)).save(tmp_path / f"{i}.png")
    for step in range(30):
        stream = StreamedCrops(tmp_path, 3, CPU)
        assert stream.crops(64, 2, 0, step, ALL).shape == (2, 3, 64, 64)
        assert len(stream.futures) <= 3 * (1 + AHEAD_FRACTION) + 2, "photos that are too small are not kept"
    with pytest.raises(ConfigError, match="sides of at least 128 pixels"):
        StreamedCrops(tmp_path, 3, CPU).crops(128, 2, 0, 0, ALL)


def test_a_stream_needs_photos(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no photo: name a folder of photographs"):
        StreamedCrops(tmp_path, 4, CPU)
    with pytest.raises(ConfigError, match="no such folder"):
        StreamedCrops(tmp_path / "nowhere", 4, CPU)


def test_a_stream_of_pictures_too_small_is_refused(tmp_path: Path, photo: Photo) -> None:
    Image.fromarray(photo(40, 40)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="no photo with sides of at least 64 pixels"):
        StreamedCrops(tmp_path, 4, CPU).crops(64, 1, 0, 0, ALL)


def test_load_photos_leaves_out_what_cannot_be_used(folder: Path) -> None:
    assert len(load_photos(folder, 64)) == 10
    assert len(load_photos(folder, 1)) == 11
    assert len(load_photos(folder, 64, limit=4)) == 3, "every third, of which 03.png is too small"
    with pytest.raises(ConfigError, match="no photo with sides of at least 500 pixels"):
        load_photos(folder, 500)
