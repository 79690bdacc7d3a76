"""Where a file's bits went, against the file; and records whose files are no longer theirs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from codec.coding import decode
from codec.errors import ConfigError, ImageError
from codec.images.read import STRICT, ImagePolicy, read_image
from codec.model import Codec
from jobs.comparing.bit_split import (
    append_split,
    measure_split,
    plain_latents,
    read_original,
    read_refined,
    read_splits,
)
from jobs.comparing.points import load_records


@pytest.fixture
def record(save_photo: Any, rdo_encode: Any) -> Any:
    save_photo("a.png", 70, 90)
    assert rdo_encode("--iters", 2, "--quality", 7, "a.png") == 0
    return load_records(["rdo-out"])[0]


def test_estimates_leave_little_of_the_file(record: Any, codec: Codec) -> None:
    found = measure_split(record, codec, STRICT)
    assert (found.plain_bytes, found.refined_bytes) == (record.outcome.plain.bytes, record.outcome.refined.bytes)
    for y, z, size in (
        (found.plain_y_bytes_est, found.plain_z_bytes_est, found.plain_bytes),
        (found.refined_y_bytes_est, found.refined_z_bytes_est, found.refined_bytes),
    ):
        assert y > z > 0 and 0 < size - y - z < 0.05 * size + 40


def test_splits_are_kept_by_their_file(record: Any, codec: Codec, tmp_path: Path) -> None:
    split = measure_split(record, codec, STRICT)
    append_split(tmp_path / "details.jsonl", split)
    (tmp_path / "details.jsonl").write_bytes((tmp_path / "details.jsonl").read_bytes() + b'{"input": 3}\n{')
    assert read_splits(tmp_path / "details.jsonl") == {record.outcome.output_sha256: split}
    assert read_splits(tmp_path / "none") == {}


@pytest.mark.usefixtures("one_start")
def test_latents_are_those_of_the_file_and_of_plain_encoding(record: Any, codec: Codec) -> None:
    written = decode(codec, Path(record.output).read_bytes()).latents
    writer, refined = read_refined(record, codec)
    assert torch.equal(refined.y, written.y) and writer is codec
    plain = plain_latents(codec, read_image(Path("a.png")), 7.0)
    assert torch.equal(plain.y, plain.y.round()) and plain.y.shape == written.y.shape


def test_a_file_that_changed_or_went_is_refused(record: Any, codec: Codec, save_photo: Any) -> None:
    with pytest.raises(ConfigError, match="not found from here"):
        read_original(replace(record, input="gone.png"), STRICT)
    save_photo("a.png", 70, 90, seed=3)
    with pytest.raises(ConfigError, match="has changed"):
        read_original(record, STRICT)
    Path(record.output).write_bytes(b"else")
    with pytest.raises(ConfigError, match="has changed"):
        read_refined(record, codec)


def test_the_policy_is_that_of_the_run(record: Any, save_photo: Any) -> None:
    path = save_photo("clear.png", mode="RGBA")
    from PIL import Image

    image = Image.open(path)
    image.putpixel((0, 0), (1, 2, 3, 0))
    image.save(path)
    moved = replace(record, input=str(path), input_sha256=None)
    with pytest.raises(ImageError, match="alpha"):
        read_original(moved, STRICT)
    assert read_original(moved, ImagePolicy(alpha="drop")).width == 40
