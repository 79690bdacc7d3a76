"""Second runs into a folder: what is done, what is encoded again, and files that are never replaced."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*.rdo")}


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in names(folder)}


def statuses(text: str) -> list[str]:
    return [json.loads(line)["status"] for line in text.splitlines()]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_second_run_does_only_the_rest(save_photo, rdo_encode, folder: Path, capsys) -> None:
    save_photo("in/a.png", 24, 40)
    save_photo("in/b.png", 20, 20)
    command = ("--iters", 0, "--json", "in")
    assert rdo_encode(*command) == 0
    before, log = times(folder), Path("rdo-out/results.jsonl").read_text()
    assert statuses(capsys.readouterr().out) == ["done", "done"]

    assert rdo_encode(*command) == 0
    again = capsys.readouterr().out
    assert statuses(again) == ["skipped", "skipped"] and times(folder) == before
    assert Path("rdo-out/results.jsonl").read_text() == log
    for old, new in zip(log.splitlines(), again.splitlines(), strict=True):
        assert json.loads(new) == {**json.loads(old), "status": "skipped"}

    save_photo("in/b.png", 20, 20, seed=5)
    assert rdo_encode(*command) == 0
    assert statuses(capsys.readouterr().out) == ["skipped", "done"]
    after = times(folder)
    assert after["rdo-out/a.png.rdo"] == before["rdo-out/a.png.rdo"]
    assert after["rdo-out/b.png.rdo"] != before["rdo-out/b.png.rdo"]

    Path("rdo-out/a.png.rdo").unlink()
    assert rdo_encode(*command) == 0
    assert statuses(capsys.readouterr().out) == ["done", "skipped"] and len(names(folder)) == 2


@pytest.mark.parametrize("changed", ["--iters 1", "--quality 5", "--lmbda 0.5", "--seed 3", "--overwrite"])
def test_other_settings_encode_again(save_photo, rdo_encode, changed: str, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--json", "--iters", 0, "in") == rdo_encode("--json", "--iters", 0, *changed.split(), "in") == 0
    told = capsys.readouterr()
    assert statuses(told.out) == ["done", "done"]
    assert ("rdo-out: replacing what other settings made" in told.err) == (changed != "--overwrite")


def test_fewer_steps_do_not_replace_more(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 20, 20)
    assert rdo_encode("--iters", 3, "in") == 0
    made = Path("rdo-out/a.png.rdo")
    best = made.read_bytes()
    capsys.readouterr()
    assert rdo_encode("--iters", 2, "--dry-run", "in") == 0
    assert not capsys.readouterr().out
    for flags in (("--iters", 2), ("--iters", 9, "--time-budget", 1e-9)):
        assert rdo_encode(*flags, "--json", "in") == 0
        told = capsys.readouterr()
        assert "rdo-out: keeping what took more steps than are asked for" in told.err
        assert statuses(told.out) == ["skipped"] and json.loads(told.out)["iters"] == 3 and made.read_bytes() == best
    assert rdo_encode("--iters", 3, "--json", "in") == 0
    told = capsys.readouterr()
    assert statuses(told.out) == ["skipped"] and "keeping" not in told.err
    assert rdo_encode("--iters", 2, "--lmbda", 0.01, "--overwrite", "--json", "in") == 0
    assert rdo_encode("--iters", 1, "--lmbda", 0.02, "--json", "in") == 0
    assert statuses(capsys.readouterr().out)[-1] == "done", "another aim is not reached by more steps"
    assert rdo_encode("--iters", 2, "--quality", 6, "in") == 0
    assert rdo_encode("--iters", 1, "--quality", 6, "--overwrite", "in") == 0
    assert rdo_encode("--iters", 3, "--quality", 6, "in") == 0
    save_photo("in/a.png", 20, 20, seed=7)
    assert rdo_encode("--iters", 2, "--quality", 6, "in") == 0, "an edited picture is done again"


def test_a_decision_on_one_picture_leaves_the_others_as_they_are(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 20, 20)
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100).save("in/deep.png")
    for flags, outcome in (
        ((), {"a": "done", "deep": "failed"}),
        (("--depth", 8), {"a": "skipped", "deep": "done"}),
        (("--depth", 8), {"a": "skipped", "deep": "skipped"}),
        ((), {"a": "skipped", "deep": "failed"}),
    ):
        rdo_encode("--iters", 0, "--json", *flags, "in")
        found = map(json.loads, capsys.readouterr().out.splitlines())
        assert {Path(record["input"]).stem: record["status"] for record in found} == outcome

    Image.new("RGBA", (20, 20), (1, 2, 3, 4)).save("in/clear.png")
    rdo_encode("--iters", 0, "--json", "--depth", 8, "--alpha", "drop", "in")
    for rule in ("drop", "blend"):
        capsys.readouterr()
        assert rdo_encode("--iters", 0, "--json", "--depth", 8, "--alpha", rule, "in") == 0
        found = map(json.loads, capsys.readouterr().out.splitlines())
        statuses_now = {Path(record["input"]).stem: record["status"] for record in found}
        assert statuses_now == {"a": "skipped", "deep": "skipped", "clear": "skipped" if rule == "drop" else "done"}


def test_a_name_too_long_for_its_file_is_that_pictures_failure(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo(f"in/{'n' * 250}.png", 30, 30)
    assert rdo_encode("--iters", 0, "--json", "in") == 1
    told = capsys.readouterr()
    assert statuses(told.out) == ["failed", "done"] and "File name too long: rename it" in told.err


def test_another_picture_of_the_same_name_replaces_nothing(save_photo, rdo_encode, capsys, folder: Path) -> None:
    save_photo("trip/a.png", 10, 10)
    save_photo("walk/a.png", 12, 12)
    assert rdo_encode("--iters", 0, "trip") == 0
    before = Path("rdo-out/a.png.rdo").read_bytes()
    for _ in range(2):
        assert rdo_encode("--iters", 0, "walk") == 1
        assert "is another picture's, trip/a.png: name another folder" in capsys.readouterr().err
        assert Path("rdo-out/a.png.rdo").read_bytes() == before
    Path("trip").rename("journey")
    assert rdo_encode("--iters", 1, "journey") == 0, "the same picture elsewhere is the same picture"
    save_photo("journey/a.png", 14, 14)
    assert rdo_encode("--iters", 1, "journey") == 0, "an edited picture is done again"
    assert rdo_encode("--iters", 0, "--overwrite", "walk") == 0


def test_another_picture_is_told_from_an_edited_one_in_other_folders_too(
    save_photo, rdo_encode, capsys, folder: Path, monkeypatch
) -> None:
    """Records hold names as they were given; two pictures may be called alike from different folders."""
    save_photo("trip/a.png", 10, 10)
    save_photo("walk/a.png", 12, 12)
    monkeypatch.chdir(folder / "trip")
    assert rdo_encode("--iters", 0, "-o", "../out", "a.png") == 0
    before = (folder / "out/a.png.rdo").read_bytes()
    monkeypatch.chdir(folder / "walk")
    assert rdo_encode("--iters", 0, "-o", folder / "out", "a.png") == 1
    assert "is another picture's, ../trip/a.png: name another folder" in capsys.readouterr().err
    (folder / "out").rename(folder / "moved")
    assert rdo_encode("--iters", 0, "-o", "../moved", "a.png") == 1
    assert (folder / "moved/a.png.rdo").read_bytes() == before
    monkeypatch.chdir(folder)
    save_photo("trip/a.png", 14, 14)
    (folder / "moved").rename(folder / "out")
    assert rdo_encode("--iters", 0, "-o", "out", "trip") == 0, "an edited picture is done again"


def test_the_table_tells_what_was_done_before(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    for expected in (False, True):
        assert rdo_encode("--iters", 0, "in") == 0
        assert ("1 of 1 were done before" in capsys.readouterr().out) == expected


@pytest.mark.parametrize("output", [(), ("-o", "rdo-out/a.png.rdo")])
def test_a_foreign_file_is_not_overwritten(save_photo, rdo_encode, output: tuple[str, ...], capsys) -> None:
    save_photo("in/a.png", 10, 10)
    Path("rdo-out").mkdir()
    foreign = Path("rdo-out/a.png.rdo")
    foreign.write_bytes(b"mine")
    assert rdo_encode("--iters", 0, *output, "in") == 1
    assert foreign.read_bytes() == b"mine"
    assert "in/a.png: rdo-out/a.png.rdo exists" in (told := capsys.readouterr().err) and "--overwrite" in told
    assert rdo_encode("--iters", 0, "--overwrite", *output, "in") == 0
    assert foreign.read_bytes()[:3] == b"RDO"


def test_a_foreign_file_is_not_overwritten_by_asking_twice(save_photo, rdo_encode) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo("in/b.png", 10, 10)
    Path("rdo-out").mkdir()
    Path("rdo-out/a.png.rdo").write_bytes(b"mine")
    assert [rdo_encode("--iters", 0, "in") for _ in range(2)] == [1, 1]
    assert Path("rdo-out/a.png.rdo").read_bytes() == b"mine"


def test_an_rdo_file_from_elsewhere_is_not_overwritten_by_asking_twice(save_photo, rdo_encode, rdo_bytes) -> None:
    save_photo("in/a.png", 10, 10)
    save_photo("in/b.png", 10, 10)
    Path("rdo-out").mkdir()
    Path("rdo-out/a.png.rdo").write_bytes(rdo_bytes)
    assert [rdo_encode("--iters", 0, "in") for _ in range(2)] == [1, 1]
    assert Path("rdo-out/a.png.rdo").read_bytes() == rdo_bytes


def test_a_result_damaged_since_is_told_and_made_good_when_asked(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 0, "in") == 0
    good = Path("rdo-out/a.png.rdo").read_bytes()
    Path("rdo-out/a.png.rdo").write_bytes(good[:-1])
    assert rdo_encode("--iters", 0, "in") == 1
    told = capsys.readouterr().err
    assert "rdo-out/a.png.rdo is damaged, or was altered since: pass --overwrite to replace it" in told
    assert rdo_encode("--iters", 0, "--overwrite", "in") == 0
    assert Path("rdo-out/a.png.rdo").read_bytes() == good


def test_a_failure_in_between_does_not_disown_the_file(save_photo, rdo_encode, capsys) -> None:
    source = save_photo("in/a.png", 10, 10)
    good = source.read_bytes()
    for data, status in ((good, "done"), (good[:40], "failed"), (good, "skipped")):
        source.write_bytes(data)
        assert rdo_encode("--iters", 0, "--json", "in") == (status == "failed")
        assert statuses(capsys.readouterr().out) == [status]


def test_a_run_killed_before_its_record_is_made_good(save_photo, rdo_encode, monkeypatch, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.running.record_log.append_record", interrupt)
        assert rdo_encode("--iters", 0, "in") == 130
    for status in ("done", "skipped"):
        assert rdo_encode("--iters", 0, "--json", "in") == 0
        assert statuses(capsys.readouterr().out) == [status]


def test_a_failure_before_the_kill_does_not_disown_what_it_left(save_photo, rdo_encode, monkeypatch) -> None:
    source = save_photo("in/a.png", 10, 10)
    good = source.read_bytes()
    source.write_bytes(good[:40])
    assert rdo_encode("--iters", 0, "in") == 1
    source.write_bytes(good)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.running.record_log.append_record", interrupt)
        assert rdo_encode("--iters", 0, "in") == 130
    assert rdo_encode("--iters", 0, "in") == 0


def test_a_file_that_no_record_names_is_replaced_aloud_and_only_if_it_may_be_the_pictures(
    save_photo, rdo_encode, rdo_bytes, capsys
) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 0, "-o", "rdo-out/a.png.rdo", "in/a.png") == 0
    save_photo("b.png", 10, 10)
    assert rdo_encode("--iters", 0, "b.png") == 0
    capsys.readouterr()
    assert rdo_encode("--iters", 1, "in") == 0
    assert "rdo-out: replacing what other settings made" in capsys.readouterr().err

    save_photo("in/c.png", 10, 10)
    Path("rdo-out/c.png.rdo").write_bytes(rdo_bytes)  # of another size
    assert rdo_encode("--iters", 1, "in") == 1
    assert Path("rdo-out/c.png.rdo").read_bytes() == rdo_bytes


def test_another_spelling_of_the_output_is_the_same_output(save_photo, rdo_encode, folder: Path, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    for output, status in (("out", "done"), (folder / "out", "skipped")):
        assert rdo_encode("--iters", 0, "--json", "-o", output, "in") == 0
        assert statuses(capsys.readouterr().out) == [status]
