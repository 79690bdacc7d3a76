"""Runs whose pictures and files are in buckets: the bytes of a disk, done once, resumed; what fails is named."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from codec import places, storage
from codec.errors import ConfigError
from jobs.running import bucket_log, encoding
from jobs.running.bucket_log import BucketLog
from jobs.running.worklist import build_worklist
from tests.jobs.conftest import files_below, files_in

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections that file systems keep


@pytest.fixture
def photos(store: Any, save_photo: Any) -> str:
    """Three pictures in a bucket, and the same ones in the folder `in`."""
    for index, name in enumerate(("a.png", "b c.png", "deep/d.png")):
        path = save_photo(f"in/{name}", 24, 40 + 8 * index, seed=index)
        storage.write(f"{store.bucket}/photos/{name}", path.read_bytes())
    storage.write(f"{store.bucket}/photos/notes.txt", b"no picture")
    store.requests.clear()
    return f"{store.bucket}/photos"


def pieces(url: str) -> list[list[dict[str, Any]]]:
    """Return the records of each piece of a log, in order."""
    names = sorted(each.name for each in storage.walk(f"{url}/results"))
    return [[json.loads(line) for line in storage.read(name).splitlines()] for name in names]


def test_a_bucket_gets_the_bytes_of_a_disk_once(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    out = f"{store.bucket}/out"
    assert rdo_encode("--iters", 3, "in", "-o", "local") == rdo_encode("--iters", 3, photos, "-o", out) == 0
    assert files_below(out) == files_in("local") and len(files_in("local")) == 3
    assert f"the files are in {out}" in capsys.readouterr().out
    [records] = pieces(out)
    assert {r["output"] for r in records} == {f"{out}/{name}" for name in files_in("local")}
    assert {r["status"] for r in records} == {"done"}
    stamps = {each.name: each.stamp for each in storage.walk(out)}
    assert all(stamps[r["output"]] == r["output_stamp"] and r["input_stamp"] for r in records)
    assert not [name for name in stamps if name.endswith(".resume")]

    store.requests.clear()
    assert rdo_encode("--iters", 3, photos, "-o", out) == 0
    assert "3 of 3 were done before, and unchanged" in capsys.readouterr().out
    assert len(pieces(out)) == 1, "a run without records leaves no piece"
    assert not store.count("HEAD", ".png") and not store.count("GET", ".png"), "the listing tells that all is done"


def test_a_changed_picture_is_encoded_again(store: Any, photos: str, save_photo: Any, rdo_encode: Any) -> None:
    out = f"{store.bucket}/out"
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0
    before = files_below(out)
    storage.write(f"{photos}/a.png", save_photo("other.png", 24, 40, seed=9).read_bytes())
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0
    after = files_below(out)
    assert {name for name in after if after[name] != before[name]} == {"a.png.rdo"}
    assert [len(piece) for piece in pieces(out)] == [3, 1]


def test_a_file_of_others_is_not_replaced(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    out = f"{store.bucket}/out"
    storage.write(f"{out}/a.png.rdo", b"somebody's")
    assert rdo_encode("--iters", 0, photos, "-o", out) == 1
    assert storage.read(f"{out}/a.png.rdo") == b"somebody's" and len(files_below(out)) == 3
    assert f"{out}/a.png.rdo exists: pass --overwrite to replace it" in capsys.readouterr().err


def test_files_without_a_record_are_of_a_killed_run(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    out = f"{store.bucket}/out"
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0
    [name] = [each.name for each in storage.walk(f"{out}/results")]
    storage.write(name, b"".join(line + b"\n" for line in storage.read(name).splitlines()[:1]))  # the last are lost
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0
    assert "1 of 3 were done before" in capsys.readouterr().out and [len(piece) for piece in pieces(out)] == [1, 2]


def test_an_output_that_is_the_input_loses_nothing(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    before = {each.name: each.stamp for each in storage.walk(photos)}
    for _ in range(2):
        assert rdo_encode("--iters", 0, photos, "-o", photos) == 0
    after = {each.name: each.stamp for each in storage.walk(photos)}
    assert before.items() <= after.items() and len(files_below(photos)) == 3
    assert "3 of 3 were done before" in capsys.readouterr().out


def test_buckets_and_folders_mix(store: Any, photos: str, rdo_encode: Any, rdo_decode: Any, capsys: Any) -> None:
    assert rdo_encode("--iters", 0, photos, "-o", "local") == rdo_encode("--iters", 0, "in", "-o", f"{photos}/rdo") == 0
    assert files_in("local") == files_below(f"{photos}/rdo")
    assert rdo_encode("--iters", 0, photos, "-o", "local") == 0
    assert "3 of 3 were done before" in capsys.readouterr().out
    assert rdo_decode(f"{photos}/rdo", "-o", "pictures") == rdo_decode("local", "-o", f"{store.bucket}/pictures") == 0
    for path in Path("pictures").rglob("*.png"):
        assert storage.read(f"{store.bucket}/pictures/{path.relative_to('pictures')}") == path.read_bytes()
    assert rdo_decode(f"{photos}/rdo/a.png.rdo", "-o", f"{store.bucket}/one.png") == 0
    assert rdo_decode(f"{photos}/rdo/b c.png.rdo", "-o", f"{store.bucket}/one.png") == 1
    assert "one.png exists: name another with -o, or pass --overwrite" in capsys.readouterr().err
    assert storage.read(f"{store.bucket}/one.png") == Path("pictures/a.png.png").read_bytes()
    assert rdo_decode(f"{photos}/rdo/b c.png.rdo") == 0 and places.exists(f"{photos}/rdo/b c.png.png")


def test_one_file_has_no_record(store: Any, photos: str, rdo_encode: Any) -> None:
    assert rdo_encode("--iters", 0, f"{photos}/a.png", "-o", f"{store.bucket}/one.rdo") == 0
    others = [each.name for each in storage.walk(store.bucket) if "photos" not in each.name]
    assert others == [f"{store.bucket}/one.rdo"]


def test_a_denied_picture_fails_alone(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    out = f"{store.bucket}/out"
    store.fault = lambda method, path: "AccessDenied" if path.endswith("photos/a.png") and method != "PUT" else None
    assert rdo_encode("--iters", 0, photos, "-o", out) == 1
    assert f"{photos}/a.png: access denied" in capsys.readouterr().err
    assert set(files_below(out)) == {"b c.png.rdo", "deep/d.png.rdo"}
    failed = [r for r in pieces(out)[0] if r["status"] == "failed"]
    assert [r["input"] for r in failed] == [f"{photos}/a.png"] and "access denied" in failed[0]["error"]
    store.fault = lambda method, path: None
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0 and len(files_below(out)) == 3


def test_an_output_that_may_not_be_written_is_named_before_any_work(
    store: Any, photos: str, rdo_encode: Any, capsys: Any
) -> None:
    store.fault = lambda method, path: "AccessDenied" if method == "PUT" else None
    assert rdo_encode("--iters", 0, photos, "-o", f"{store.bucket}/out") == 1
    assert "access denied (Access Denied): check the credentials" in capsys.readouterr().err
    assert not store.count("GET", ".png")


def test_a_throttled_store_is_waited_for(store: Any, photos: str, rdo_encode: Any) -> None:
    numbers = iter(range(10**6))
    store.fault = lambda method, path: "SlowDown" if next(numbers) % 3 else None  # two of three requests
    assert rdo_encode("--iters", 0, photos, "-o", f"{store.bucket}/out") == 0
    store.fault = lambda method, path: None
    assert len(files_below(f"{store.bucket}/out")) == 3


def test_a_bucket_that_vanishes_ends_the_run_and_loses_no_record(
    store: Any, photos: str, rdo_encode: Any, capsys: Any
) -> None:
    out, written = f"{store.bucket}/out", list[str]()

    def vanish(method: str, path: str) -> str | None:
        if len(written) >= 2:
            return "NoSuchBucket"
        if method == "PUT" and path.endswith(".rdo"):
            written.append(path)
        return None

    store.fault = vanish
    assert rdo_encode("--iters", 0, photos, "-o", out) == 1
    said = capsys.readouterr().err
    store.fault = lambda method, path: None
    assert "no such file or folder" in said and "the last records are in ./000001-" in said
    [rescued] = Path().glob("000001-*.jsonl")
    done = [r["output"] for r in map(json.loads, rescued.read_text().splitlines()) if r["status"] == "done"]
    assert {f"{out}/{name}" for name in files_below(out)} == set(done) and done
    storage.write(f"{out}/results/{rescued.name}", rescued.read_bytes())  # as the message says
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0
    assert f"{len(done)} of 3 were done before" in capsys.readouterr().out and len(files_below(out)) == 3


def test_a_log_is_in_pieces_in_order(store: Any, make_record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_log, "PIECE_BYTES", 2000)
    names = [f"{index}.png" for index in range(9)]
    for part in (names[:6], names[6:]):
        log = BucketLog(f"{store.bucket}/out")
        with log.writing():
            for name in part:
                log.append(make_record(name, 4))
    found = BucketLog(f"{store.bucket}/out").read()
    assert [record.input for record in found] == names and len(pieces(f"{store.bucket}/out")) > 2
    assert store.count("PUT", "results") < 2 * len(names)


def test_a_refinement_goes_on_from_the_bucket(store: Any, photos: str, rdo_encode: Any, monkeypatch: Any) -> None:
    from rdo import resuming

    out = f"{store.bucket}/out"
    monkeypatch.setattr(resuming, "INTERVAL_S", 0.0)
    honest = encoding._write

    def interrupt(output: str, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encoding, "_write", interrupt)
    assert rdo_encode("--iters", 4, f"{photos}/a.png", "-o", out) == 130
    assert places.exists(f"{out}/a.png.rdo.resume")
    monkeypatch.setattr(encoding, "_write", honest)
    assert rdo_encode("--iters", 4, f"{photos}/a.png", "-o", out) == 0
    assert not places.exists(f"{out}/a.png.rdo.resume")
    assert pieces(out)[-1][-1]["resumed_step"] is not None


def test_nothing_secret_is_kept_or_shown(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    signed = f"{store.endpoint}/{photos.removeprefix('s3://')}/a.png?X-Amz-Signature=hush-hush"
    assert rdo_encode("--iters", 0, signed, "-o", "local") == 0
    store.fault = lambda method, path: "AccessDenied" if path.endswith("/a.png") else None
    assert rdo_encode("--iters", 0, signed, "-o", "other", "--json") == 2  # what is not there for us
    assert rdo_encode("--iters", 0, "https://me:hush-hush@host/a.png") == 2
    assert rdo_encode("--iters", 0, photos, "-o", f"{store.bucket}/out", "--json") == 1
    store.fault = lambda method, path: None
    told = "".join(capsys.readouterr())
    kept = "".join(p.read_text(errors="replace") for p in Path().rglob("*.jsonl"))
    assert "hush-hush" not in told + kept and "/a.png" in kept
    assert not any(b"hush-hush" in storage.read(each.name) for each in storage.walk(store.bucket))
    assert set(files_in("local")) == {"a.png.rdo"}


@pytest.mark.parametrize(
    ("inputs", "output", "text"),
    [
        (["{bucket}/none"], None, "{bucket}/none: no such file, folder or bucket"),
        (["s3://no-such-bucket/a"], None, "s3://no-such-bucket/a: no such file"),
        (["{bucket}/photos"], "{bucket}/a.png", "-o {bucket}/a.png: name a folder"),
        (["{bucket}/photos"], "{bucket}/a.rdo", "names one file, but there are 3 pictures"),
        (["{bucket}/photos", "in"], None, "would both become rdo-out/"),
        (["{bucket}/photos", "{bucket}/twin"], "{bucket}/out", "would both become {bucket}/out/a.png.rdo"),
    ],
)
def test_bad_names_are_refused(store: Any, photos: str, inputs: list[str], output: str | None, text: str) -> None:
    storage.write(f"{store.bucket}/twin/a.png", b"data")
    names = [name.format(bucket=store.bucket) for name in inputs]
    with pytest.raises(ConfigError) as caught:
        build_worklist(names, output and output.format(bucket=store.bucket))
    assert text.format(bucket=store.bucket) in str(caught.value)


def test_a_name_given_twice_is_one_picture(store: Any, photos: str) -> None:
    items = build_worklist([photos, f"{photos}/a.png"], f"{store.bucket}/out")
    assert len(items) == 3 and [item.bytes for item in items] == sorted((i.bytes for i in items), reverse=True)


@pytest.mark.parametrize("output", ["/photos", "", "/photos/deep"])
def test_files_beside_above_or_below_their_pictures(
    store: Any, photos: str, rdo_encode: Any, output: str, capsys: Any
) -> None:
    out = f"{store.bucket}{output}"
    before = {each.name: each.stamp for each in storage.walk(photos)}
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0
    made = sorted(name for name in files_below(out))
    wanted = ["a.png.rdo", "b c.png.rdo", *([] if output == "/photos/deep" else ["deep/d.png.rdo"])]
    assert made == wanted, "what is below the output is no input"
    assert rdo_encode("--iters", 0, photos, "-o", out) == 0
    assert f"{len(wanted)} of {len(wanted)} were done before" in capsys.readouterr().out
    after = {each.name: each.stamp for each in storage.walk(photos)}
    assert before.items() <= after.items(), "the pictures stay as they were"


def test_what_files_behind_urls_lack_is_said(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    assert rdo_encode("--preserve-times", photos, "-o", "local") == 2
    assert "--preserve-times: files behind URLs have no times to" in capsys.readouterr().err
    assert rdo_encode("--iters", 0, "in", "-o", "https://host/out") == 2
    assert "https:// can only be read" in capsys.readouterr().err


def test_what_decoding_cannot_do_is_said(store: Any, rdo_decode: Any, capsys: Any) -> None:
    url, web = f"{store.bucket}/a.rdo", "https://host/a.rdo?signature=hush-hush"
    assert [rdo_decode("--preserve-times", url, "-o", "x"), rdo_decode("--open", url), rdo_decode(web)] == [2, 2, 2]
    said = capsys.readouterr().err
    assert "--preserve-times: files behind" in said and "--open: of pictures on this machine" in said
    assert "https://host/a.rdo: nothing can be written beside it" in said and "hush" not in said


def test_a_dry_run_writes_nothing(store: Any, photos: str, rdo_encode: Any, capsys: Any) -> None:
    storage.write(f"{photos}/torn.png", b"\x89PNG\r\n\x1a\n")
    assert rdo_encode("--dry-run", photos, "-o", f"{store.bucket}/out") == 1
    told = capsys.readouterr()
    assert f"{photos}/a.png -> {store.bucket}/out/a.png.rdo" in told.out and "torn.png: " in told.err
    assert not places.exists(f"{store.bucket}/out")


def test_runs_on_a_disk_import_no_file_system(folder: Path, save_photo: Any, model: str) -> None:
    save_photo("in/a.png")
    code = (
        "import sys; from jobs.encode import main\n"
        f"assert main(['--model', {model!r}, '--iters', '0', 'in']) == 0\n"
        "print(sorted({'fsspec', 's3fs', 'aiohttp', 'sshfs'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


COMMAND = "import sys; from jobs.encode import main; sys.exit(main())"


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["-j", "2"], ["--ray", "--workers", "2"]])
def test_workers_write_the_same_bytes(store: Any, photos: str, model: str, rdo_encode: Any, flags: list[str]) -> None:
    assert rdo_encode("--iters", 3, "in", "-o", "local") == 0
    out = f"{store.bucket}/out"
    command = [sys.executable, "-c", COMMAND, "--model", model, "--threads", "1", "--exact", "never", "--iters", "3"]
    command += [photos, "-o", out]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AWS_MAX_ATTEMPTS": "5"}
    subprocess.run([*command, *flags], env=environment, check=True, timeout=600)
    assert files_below(out) == files_in("local")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alone", "processes", "cluster"])
def test_a_killed_driver_loses_at_most_its_last_second(
    store: Any, photos: str, model: str, save_photo: Any, kind: str, workers_of: Any, rdo_decode: Any
) -> None:
    for index in range(16):
        path = save_photo(f"more/{index}.png", 40, 40, seed=index)
        storage.write(f"{store.bucket}/more/{index}.png", path.read_bytes())
    out = f"{store.bucket}/out"
    storage.write(f"{out}/readme.txt", b"so that the folder exists")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AWS_MAX_ATTEMPTS": "5"}
    with workers_of(kind) if kind != "alone" else nullcontext([]) as workers:
        command = [sys.executable, "-W", "ignore", "-c", COMMAND, "--model", model, "--threads", "1", "--iters", "40"]
        command += ["--exact", "never", *workers, f"{store.bucket}/more", "-o", out]
        for kills in (1, 2):
            with subprocess.Popen(
                command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            ) as run:
                end = time.monotonic() + 300
                while run.poll() is None and time.monotonic() < end and len(files_below(out)) < 4 * kills:
                    time.sleep(0.05)
                run.kill()
        assert 4 <= len(files_below(out)) < 16
        subprocess.run(command, env=environment, check=True, timeout=600)
    records = [r for piece in pieces(out) for r in piece]
    assert len(records) == len({r["output"] for r in records}) == 16, "none is done again after its record"
    stamps = {r["output"]: r["output_stamp"] for r in records}
    assert all(each.stamp == stamps[each.name] for each in storage.walk(out) if each.name in stamps)
    assert not [each.name for each in storage.walk(out, hidden=True) if each.name.endswith((".resume", ".part"))]
    assert all(r["status"] == "done" and r["verified"] for r in records)
    assert rdo_decode(out, "-o", "decoded") == 0 and len(list(Path("decoded").rglob("*.png"))) == 16
