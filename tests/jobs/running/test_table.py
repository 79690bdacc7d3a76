"""The table: one line a picture, totals, failures and what was done before."""

from dataclasses import replace

from jobs.record import SCHEMA, Outcome, Record, Score
from jobs.running.table import Table

PLAIN, REFINED = Score(1000, 8.0, 30.0, None, 61.25, 10.0), Score(900, 7.2, 31.5, None, 64.5, 9.0)
OUTCOME = Outcome("ff00", 40, 25, PLAIN, REFINED, gain_percent=10.0, verified=True, iters=40)
DONE = Record(SCHEMA, "done", "a.png", "a.png.rdo", quality=4.5, outcome=OUTCOME)
FAILED = Record(SCHEMA, "failed", "b.png", "b.png.rdo", error="truncated: copy it again")
EXACT = replace(
    DONE,
    input="c.png",
    outcome=replace(
        OUTCOME,
        plain=Score(500, 4.0, None, None, 100.0, 5.0),
        refined=Score(450, 3.6, None, None, 100.0, 4.0),
        gain_percent=20.0,
    ),
)


def summary(records: list[Record], folder: str | None = None) -> str:
    """Return the table of records."""
    table = Table()
    for record in records:
        table.add(record)
    return table.text(folder)


def test_a_picture_is_a_line_of_plain_against_refined() -> None:
    head, line = summary([DONE]).splitlines()
    assert line.split() == [
        "a.png",
        "4.50",
        "1000",
        "900",
        "-10.0%",
        "30.00",
        "->",
        "31.50",
        "61.2",
        "->",
        "64.5",
        "-10.00%",
    ]
    assert len(head) <= len(line) <= 113


def test_ms_ssim_is_told_where_it_was_measured() -> None:
    outcome = replace(OUTCOME, plain=replace(PLAIN, ms_ssim=0.92518), refined=replace(REFINED, ms_ssim=0.93))
    head, line = summary([replace(DONE, outcome=outcome)]).splitlines()
    assert line.split()[8:11] == [".9252", "->", ".9300"]
    assert len(head) == len(line) == len(summary([DONE]).splitlines()[1])


def test_ssimulacra2_of_both_files_or_of_none() -> None:
    worst = replace(OUTCOME, plain=replace(PLAIN, ssimulacra2=-123.45), refined=replace(REFINED, ssimulacra2=-23.45))
    head, line = summary([replace(DONE, outcome=worst)]).splitlines()
    assert line.split()[8:11] == ["-123.5", "->", "-23.4"] and line.index("-123.5") > head.index("MS-SSIM")
    old = replace(OUTCOME, plain=replace(PLAIN, ssimulacra2=None), refined=replace(REFINED, ssimulacra2=None))
    assert summary([replace(DONE, outcome=old)]).splitlines()[1].split()[8:] == ["-10.00%"]


def test_totals_failures_and_pictures_done_before() -> None:
    lines = summary([DONE, FAILED, replace(EXACT, status="skipped")]).splitlines()
    assert [line.split()[0] for line in lines] == ["picture", "a.png", "c.png", "all,", "b.png", "1"]
    assert lines[2].split()[5:8] == ["exact", "->", "exact"]
    assert lines[3].split()[3:] == ["1500", "1350", "-10.0%", "-15.00%"]
    assert lines[4].split() == ["b.png", "failed"]  # why was told when it did
    assert lines[5] == "1 of 3 were done before, and unchanged"


def test_it_ends_with_where_the_files_are() -> None:
    assert summary([DONE], "out").splitlines()[-1] == "the files are in out"
    assert "out" not in summary([FAILED], "out")


def test_no_table_of_nothing() -> None:
    assert summary([FAILED]).split() == ["b.png", "failed"]


def test_long_names_keep_their_end() -> None:
    line = summary([replace(DONE, input="folder/" * 9 + "a.png")]).splitlines()[1]
    assert line.startswith("...") and "folder/a.png" in line and line.index(" ") <= 24


def test_plain_encoding_has_a_table_of_its_own() -> None:
    outcome = replace(OUTCOME, refined=PLAIN, gain_percent=0.0, iters=0)
    plain = replace(DONE, outcome=outcome)
    head, line = summary([plain]).splitlines()
    assert head.split() == ["picture", "quality", "bytes", "PSNR", "MS-SSIM", "SSIMULACRA", "2"]
    assert line.split() == ["a.png", "4.50", "1000", "30.00", "61.2"]
    assert len(head) == len(line)
    assert "refined" in summary([plain, DONE])  # of two runs
    assert "refined" in summary(
        [replace(plain, outcome=replace(outcome, iters=40))]
    )  # which gained nothing, and says so


def test_names_hold_no_orders_for_the_terminal() -> None:
    assert len(summary([replace(DONE, input="a\nb\x1b[2J\udcff.png")]).splitlines()) == 2
    assert "a\\nb\\x1b[2J\\udcff.png" in summary([replace(DONE, input="a\nb\x1b[2J\udcff.png")])


def test_a_picture_stored_exactly_as_a_whole_is_marked_and_counted() -> None:
    whole = replace(EXACT, outcome=replace(EXACT.outcome, width=65, height=64, exact_blocks=2))
    part = replace(whole, outcome=replace(whole.outcome, exact_blocks=1))
    table = Table()
    for record in (whole, part, DONE):
        table.add(record)
    assert [line.endswith("  stored exactly") for line in table.text().splitlines()[1:4]] == [True, False, False]
    assert table.exact == 1


def test_a_picture_coded_along_the_linear_path_is_marked() -> None:
    hard = replace(DONE, outcome=replace(OUTCOME, gain_profile=7))
    plain = replace(hard, outcome=replace(OUTCOME, refined=PLAIN, iters=0, gain_percent=0.0, gain_profile=7))
    for record in (hard, plain):
        assert summary([record]).splitlines()[1].endswith("  linear path")
    assert "linear path" not in summary([DONE])
