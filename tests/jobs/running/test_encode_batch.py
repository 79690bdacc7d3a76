"""Batches in memory: the files of `rdo-encode`, as a function that Ray Data maps over pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.errors import ConfigError
from jobs.running.encode_batch import EncodeBatch


@pytest.fixture
def encode_batch(model: str) -> EncodeBatch:
    return EncodeBatch(model=model, threads=1, iters=2, quality=3)


def test_bytes_are_those_of_the_command(encode_batch: EncodeBatch, save_photo: Any, rdo_encode: Any) -> None:
    paths = [
        save_photo("in/a.png", 40, 60),
        save_photo("in/b.png", 30, 30, seed=1),
        save_photo("in/c.png", 20, 20, mode="L"),
    ]
    images = np.empty(3, dtype=object)
    images[:] = [np.asarray(Image.open(path)) for path in paths]
    found = encode_batch({"image": images, "path": np.array([path.name for path in paths])})
    assert rdo_encode("--iters", 2, "--quality", 3, "in") == 0
    assert list(found) == ["path", "rdo", "gain_percent", "psnr_db", "quality"]
    for name, data in zip(found["path"], found["rdo"], strict=True):
        assert Path(f"rdo-out/{name}.rdo").read_bytes() == data
    assert (found["quality"] == 3).all() and (found["gain_percent"] >= 0).all()


def test_what_is_no_picture_is_refused(encode_batch: EncodeBatch, model: str) -> None:
    for image in (
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ):
        with pytest.raises(ConfigError, match="give uint8"):
            encode_batch({"image": [image]})
    with pytest.raises(ConfigError, match="column image: not in the batch, which has picture"):
        encode_batch({"picture": []})
    with pytest.raises(ConfigError, match="quality 9"):
        EncodeBatch(model=model, quality=9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of Ray Data itself
def test_ray_data_maps_it_over_a_folder(encode_batch: EncodeBatch, save_photo: Any, model: str) -> None:
    pytest.importorskip("pyarrow", reason="Ray Data needs it")
    import ray.data

    from jobs.pools.cluster import connect

    paths = [save_photo(f"in/{seed}.png", 40, 60, seed=seed) for seed in range(3)]
    started = connect(None)
    try:
        settings = {"model": model, "threads": 1, "iters": 2, "quality": 3}
        pictures = ray.data.read_images("in", mode="RGB", include_paths=True)
        files = pictures.map_batches(EncodeBatch, fn_constructor_kwargs=settings, batch_size=2, concurrency=1)
        rows = {Path(row["path"]).name: row["rdo"] for row in files.iter_rows()}
    finally:
        if started:
            ray.shutdown()
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    assert rows == {path.name: data for path, data in zip(paths, encode_batch({"image": images})["rdo"], strict=True)}
