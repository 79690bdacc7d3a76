"""Photos of a study: told apart by content, cut once, split by content alone."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from codec.errors import ConfigError
from codec.images.read import STRICT, ImagePolicy, read_image
from jobs.tuning.photos import Photo, find_photos, prepare, split


def nobody(path: Path, reason: str) -> None:
    raise AssertionError(f"{path}: {reason}")


def test_copies_count_once_and_names_do_not_matter(save_photo, folder: Path) -> None:
    for seed in range(7):
        save_photo(f"in/{seed}.png", 10, 12, seed)
    shutil.copy("in/3.png", "in/copy.png")
    photos = find_photos(["in"], folder / "study", nobody)
    assert len(photos) == 7 and all(photo.pixels == 120 for photo in photos)
    tuned, held = split(photos, 0.3)
    assert (len(tuned), len(held)) == (5, 2)
    (folder / "other").mkdir()
    for index, photo in enumerate(reversed(photos)):
        shutil.copy(photo.path, f"other/{index}.png")
    same = [[p.sha256 for p in part] for part in split(find_photos(["other"], folder / "study", nobody), 0.3)]
    assert same == [[p.sha256 for p in part] for part in (tuned, held)]


def test_neither_part_is_empty() -> None:
    photos = [Photo(Path(f"{n}.png"), str(n), 1) for n in range(3)]
    assert [len(part) for part in split(photos, 0.01)] == [2, 1]
    assert [len(part) for part in split(photos, 0.99)] == [1, 2]
    assert [len(part) for part in split(photos[:1], 0)] == [1, 0]
    with pytest.raises(ConfigError, match=r"0\.png: one photo cannot be"):
        split(photos[:1], 0.5)


@pytest.mark.parametrize(("height", "width"), [(50, 70), (50, 20), (20, 20)])
def test_the_middle_is_cut_once(save_photo, folder: Path, height: int, width: int) -> None:
    save_photo("in/a.png", height, width)
    cut = partial(prepare, crop=32, policy=STRICT, folder=folder / "crops", failed=nobody)
    [photo] = cut(find_photos(["in"], folder / "study", nobody))
    top, left = max(0, height - 32) // 2, max(0, width - 32) // 2
    whole = read_image(folder / "in/a.png").data
    assert np.array_equal(read_image(photo.path).data, whole[top : top + 32, left : left + 32])
    assert photo.pixels == min(height, 32) * min(width, 32)
    before = photo.path.stat().st_mtime_ns
    assert cut(find_photos(["in"], folder / "study", nobody)) == [photo]
    assert photo.path.stat().st_mtime_ns == before


def test_a_study_inside_its_photos_does_not_find_its_own_crops(save_photo, folder: Path) -> None:
    save_photo("in/a.png", 64, 64)
    save_photo("in/study/crops/a.png", 32, 32)
    save_photo("other/a.png", 64, 64, seed=3)
    assert [p.path.name for p in find_photos(["in"], Path("in/study"), nobody)] == ["a.png"]
    assert len(find_photos(["in", "other"], Path("in/study"), nobody)) == 2, "two of one name"


@pytest.mark.parametrize("crop", [None, 16])
def test_what_cannot_be_read_is_left_out_with_its_reason(save_photo, folder: Path, crop: int | None) -> None:
    save_photo("in/a.png")
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:200])
    save_photo("in/c.png", seed=1)
    told: dict[str, str] = {}
    photos = prepare(
        find_photos(["in"], folder / "study", nobody),
        crop=crop,
        policy=ImagePolicy(),
        folder=folder / "crops",
        failed=lambda p, r: told.update({p.name: r}),
    )
    assert len(photos) == 2 and list(told) == ["b.png"]
    assert {photo.path.parent.name for photo in photos} == {"crops" if crop else "in"}


def test_what_may_not_be_opened_is_told(save_photo, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in/a.png", "in/b.png"):
        save_photo(name, 10, 12)
    honest, told = Path.read_bytes, []

    def read_bytes(path: Path) -> bytes:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return honest(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    found = find_photos(["in"], folder / "study", lambda path, reason: told.append((path.name, reason)))
    assert [photo.path.name for photo in found] == ["a.png"]
    assert told == [("b.png", "Permission denied: check the path and its permissions")]
    with pytest.raises(ConfigError, match="none of the pictures may be opened"):
        find_photos(["in/b.png"], folder / "study", lambda *_: None)
