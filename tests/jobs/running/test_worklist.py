"""Worklists: which pictures, in which order, under which names."""

import os
import shutil
from pathlib import Path

import pytest

from codec.errors import ConfigError
from codec.images.find import find_files, find_images
from jobs.running.worklist import Item, build_worklist

Pairs = list[tuple[str, str]]


def pairs(inputs: list[str], output: str | None = None) -> Pairs:
    return sorted((item.input, item.output) for item in build_worklist(inputs, output))


@pytest.fixture
def tree(save_photo, folder: Path) -> Path:
    """Two pictures that differ in suffix only, one deeper, and much that is none."""
    for name in ("in/photo.jpg", "in/photo.png", "in/a/b/deep.webp", "in/.hidden.png", "in/.git/object.png"):
        save_photo(name)
    (folder / "in/notes.txt").write_text("no picture")
    (folder / "in/results.jsonl").write_text("{}\n")
    shutil.copy(folder / "in/photo.png", folder / "in/without_suffix")
    return folder


def test_a_folder_is_walked_and_names_do_not_collide(tree: Path) -> None:
    assert pairs(["in"]) == [
        ("in/a/b/deep.webp", "rdo-out/a/b/deep.webp.rdo"),
        ("in/photo.jpg", "rdo-out/photo.jpg.rdo"),
        ("in/photo.png", "rdo-out/photo.png.rdo"),
        ("in/without_suffix", "rdo-out/without_suffix.rdo"),
    ]


@pytest.mark.parametrize("output", ["in/out", "in/a/b"])
def test_the_output_folder_is_no_input(tree: Path, save_photo, output: str) -> None:
    save_photo(f"{output}/left_from_before.png")
    assert all(not source.startswith(output) for source, _ in pairs(["in"], output))


def test_results_of_a_run_are_no_input(tree: Path) -> None:
    (tree / "in/rdo-out").mkdir()
    (tree / "in/rdo-out/photo.jpg.rdo").write_bytes(b"RDO" + bytes(40))
    assert len(pairs(["in"])) == 4


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "a.jxl", "a.dng"])
def test_photographs_that_are_not_read_are_not_passed_over(tree: Path, name: str) -> None:
    (tree / "in" / name).write_bytes(bytes(40))
    assert (f"in/{name}", f"rdo-out/{name}.rdo") in pairs(["in"])


def test_a_pipe_is_not_looked_into(folder: Path) -> None:
    os.mkfifo(folder / "pipe")  # whose opening would block
    assert pairs(["pipe"], "a.rdo") == [("pipe", "a.rdo")]


def test_links_to_folders_are_not_followed(tree: Path) -> None:
    (tree / "in/loop").symlink_to(tree / "in")
    assert len(pairs(["in"])) == 4


def test_what_may_not_be_opened_is_listed_for_the_report(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "half"):
        (tree / "in" / name).mkdir()
        shutil.copy(tree / "in/photo.png", tree / "in" / name)
    scandir, is_file = os.scandir, Path.is_file

    def guarded_scandir(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    def guarded_is_file(path: Path) -> bool:
        if path.parent.name == "half":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(os, "scandir", guarded_scandir)
    monkeypatch.setattr(Path, "is_file", guarded_is_file)
    found = [str(path) for path in find_images(Path("in"))]
    assert {"in/closed", "in/half/photo.png"} <= set(found) and len(found) == 6


def test_hidden_files_are_left_out_and_closed_folders_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in/open", "in/closed"):
        (folder / name).mkdir(parents=True)
    for name in ("a.rdo", "a.png", "._a.rdo"):
        Path("in/open", name).touch()
    scandir = os.scandir

    def guarded(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert find_files(Path("in"), lambda path: path.suffix == ".rdo") == [Path("in/closed"), Path("in/open/a.rdo")]


def test_files_and_folders_together(tree: Path, save_photo) -> None:
    save_photo("one.png")
    assert ("one.png", "out/one.png.rdo") in pairs(["one.png", "in"], "out")
    assert pairs([str(tree / "one.png")]) == [(str(tree / "one.png"), "rdo-out/one.png.rdo")]


def test_a_named_file_is_taken_whatever_it_is(tree: Path) -> None:
    assert pairs(["in/notes.txt", "in/.hidden.png"]) == [
        ("in/.hidden.png", "rdo-out/.hidden.png.rdo"),
        ("in/notes.txt", "rdo-out/notes.txt.rdo"),
    ]


def test_largest_first_and_unreadable_last(save_photo, folder: Path) -> None:
    for name, height, width in (("in/c.png", 10, 10), ("in/a.png", 1, 500), ("in/b.png", 30, 30)):
        save_photo(name, height, width)
    (folder / "in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    items = build_worklist(["in"], None)
    assert [Path(item.input).name for item in items] == ["b.png", "a.png", "c.png", "broken.png"]
    assert [item.pixels for item in items] == [900, 500, 100, 0]


@pytest.mark.parametrize(("output", "target"), [(None, "-"), ("-", "-"), ("a.rdo", "a.rdo")])
def test_standard_input(folder: Path, output: str | None, target: str) -> None:
    assert build_worklist(["-"], output) == [Item("-", target, 0)]


@pytest.mark.parametrize("output", ["b.rdo", "-", "sub/b.rdo"])
def test_one_picture_may_name_its_file(save_photo, output: str) -> None:
    save_photo("a.png")
    assert pairs(["a.png"], output) == [("a.png", output)]


def test_a_picture_that_is_named_twice_is_taken_once(save_photo) -> None:
    save_photo("in/a.png")
    assert pairs(["in/a.png", "in", "./in/a.png"], None) == [("in/a.png", "rdo-out/a.png.rdo")]
    assert pairs(["in/a.png", "in/a.png"], "one.RDO") == [("in/a.png", "one.RDO")]


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["missing.png"], None, "missing.png: no such file"),
        (["x", "y"], None, r"x/same\.png.*y/same\.png|y/same\.png.*x/same\.png"),
        (["x/same.png", "y/same.png"], "out", r"out/same\.png\.rdo"),
        (["x", "y/other.png"], "one.rdo", "one.rdo: names one file, but there are 2"),
        (["x", "y/other.png"], "-", "names one file, but there are 2"),
        (["-", "x"], None, "standard input is one picture"),
        (["-"], "out", "-o out: standard input has no name"),
        (["empty"], None, "empty: no pictures found"),
        (["empty", "no_pictures"], None, "empty, no_pictures: no pictures found"),
    ],
)
def test_what_cannot_be_is_refused(save_photo, folder: Path, inputs: list[str], output: str | None, message) -> None:
    for name in ("x/same.png", "y/same.png", "y/other.png"):
        save_photo(name)
    (folder / "empty").mkdir()
    (folder / "no_pictures").mkdir()
    (folder / "no_pictures/notes.txt").write_text("text")
    with pytest.raises(ConfigError, match=message):
        build_worklist(inputs, output)


@pytest.mark.parametrize(("name", "output", "target"), [("in", "in", "in/a.png.rdo"), ("in", ".", "a.png.rdo")])
def test_files_beside_or_above_their_pictures(save_photo, name: str, output: str, target: str) -> None:
    save_photo("in/a.png")
    assert pairs([name], output) == [("in/a.png", target)]
