"""Terminals and pipes: any name on any encoding, closed streams, dumb terminals, targets that cannot be written."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from codec.files import write_atomically

NAME = "日本.png"


def run(command: str, shell_end: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of jobs in a shell, so that its streams can be closed."""
    module = f'{sys.executable} -c "from jobs.{command.split()[0]} import main; raise SystemExit(main())"'
    line = f"{module} {command.partition(' ')[2]} {shell_end}"
    root = Path(__file__).parents[2]
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def photo_named(save_photo, model: str) -> str:
    save_photo(f"in/{NAME}")
    return f"encode --model {model} --threads 1 --iters 0"


def test_names_that_an_encoding_lacks_are_escaped(photo_named: str, model: str, folder: Path) -> None:
    done = run(f"{photo_named} -o out in", "", folder, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u65e5\u672c.png" in done.stdout and (folder / "out" / f"{NAME}.rdo").exists()
    for command, text in (("info", r"\u65e5"), ("decode", ""), ("encode --dry-run", r"\u65e5")):
        given = f"{command} --model {model} {'in' if 'encode' in command else 'out'}"
        done = run(given, "", folder, PYTHONIOENCODING="ascii")
        assert done.returncode == 0 and text in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&- <&-"])
def test_closed_streams_cost_no_picture(photo_named: str, folder: Path, closed: str) -> None:
    done = run(f"{photo_named} -o out in", closed, folder)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    data = (folder / "out" / f"{NAME}.rdo").read_bytes()
    assert data.startswith(b"RDO")
    done = run(f"{photo_named} -o out nothing", closed, folder)
    assert done.returncode == 2, "an error keeps its status"


def test_a_file_for_a_closed_output_is_no_success(photo_named: str, model: str, folder: Path) -> None:
    assert run(f"{photo_named} -o a.rdo in/{NAME}", "", folder).returncode == 0
    for command in (f"{photo_named} -o - in/{NAME}", f"decode --model {model} -o - a.rdo"):
        done = run(command, ">&-", folder)
        assert done.returncode in (1, 2) and "standard output is closed: name a file with -o" in done.stderr
        assert run(command, "> /dev/null", folder).returncode == 0


def test_a_process_ends_without_a_search_for_garbage(folder: Path) -> None:
    program = """
import atexit, gc
atexit.register(lambda: print("frozen", gc.get_freeze_count()))  # runs last
from jobs.models import main
import torch
raise SystemExit(main(["card", "small"]))
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout.split()[-1]) > 100_000, "torch alone has that many"


def on_terminal(command: list[str], folder: Path, **environment: str) -> bytes:
    """Return what a command writes to a terminal."""
    own, its = pty.openpty()
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), **environment}
    with subprocess.Popen(command, cwd=folder, env=env, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        out = b""
        while True:
            try:
                part = os.read(own, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            out += part
        assert process.wait() == 0
    os.close(own)
    return out.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(("terminal", "redraws"), [("xterm", True), ("dumb", False)])
def test_lines_are_redrawn_only_where_a_terminal_can(
    save_photo, model: str, folder: Path, terminal: str, redraws: bool
) -> None:
    for number in range(2):
        save_photo(f"in/{number}.png", seed=number)
    program = "from jobs.encode import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "--model", model, "--threads", "1", "--iters", "2", "-o", "out", "in"]
    out = on_terminal(command, folder, TERM=terminal, NO_COLOR="1")
    assert out.startswith(b"picture") == (not redraws), "a bar leaves an empty line"
    assert b"\x1b[3" not in out, "no colours"
    assert redraws or not ({*out} & {*range(32)}) - {ord("\n")}


def test_logs_have_no_control_characters(photo_named: str, folder: Path) -> None:
    done = run(f"{photo_named} -o out in", "", folder)
    assert not {c for c in done.stdout + done.stderr if ord(c) < 32} - {"\n"}


def test_what_cannot_be_written_is_named_as_the_user_did(folder: Path) -> None:
    (folder / "taken").mkdir()
    for path in (folder / "taken", folder / "missing/a.rdo"):
        with pytest.raises(OSError) as caught:
            write_atomically(path, b"data")
        assert caught.value.filename == str(path) and ".part" not in str(caught.value)
    assert not list(folder.rglob("*.part"))
