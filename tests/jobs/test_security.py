"""Security: no command writes outside its output, writes through a link, unpickles, or uses the network."""

import ast
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest

import codec
import jobs
import rdo

SOURCES = [path for package in (codec, jobs, rdo) for path in Path(str(package.__file__)).parent.rglob("*.py")]


def tree(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() or p.is_symlink()}


def test_decoding_writes_below_the_output_whatever_the_names(folder: Path, rdo_decode: Any, rdo_bytes: bytes) -> None:
    names = ["..rdo", "...rdo", "a b\n.rdo", "%2e%2e.rdo", "~.rdo", "-.rdo", "sub/..a.rdo"]
    for name in names:
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(rdo_bytes)
    before = tree(folder)
    assert rdo_decode("-o", "out/put", *(f"in/{name}" for name in names)) == 0
    new = tree(folder) - before
    assert len(new) == len(names) and all(name.startswith("out/put/") and name.endswith(".png") for name in new)


def test_a_file_named_with_dots_goes_by_its_last_part(folder: Path, rdo_decode: Any, rdo_bytes: bytes) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/a.rdo").write_bytes(rdo_bytes)
    assert rdo_decode("-o", "out", "elsewhere/../elsewhere/a.rdo") == 0
    assert tree(folder) == {"elsewhere/a.rdo", "out/a.png"}


def test_links_to_folders_are_not_entered(folder: Path, rdo_decode: Any, rdo_encode: Any, rdo_bytes: bytes) -> None:
    (folder / "outside").mkdir()
    (folder / "outside/secret.rdo").write_bytes(rdo_bytes)
    (folder / "in").mkdir()
    (folder / "in/a.rdo").write_bytes(rdo_bytes)
    (folder / "in/link").symlink_to(folder / "outside", target_is_directory=True)
    assert rdo_decode("in") == 0
    assert tree(folder / "outside") == {"secret.rdo"} and (folder / "in/a.png").is_file()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_an_output_is_replaced_and_its_target_left(
    folder: Path, save_photo: Any, rdo_encode: Any, rdo_decode: Any, dangling: bool
) -> None:
    target = folder / "precious"
    if not dangling:
        target.write_text("precious")
    save_photo("in/a.png", 10, 10)
    (folder / "out").mkdir()
    (folder / "out/a.png.rdo").symlink_to(target)
    (folder / "out/a.png.png").symlink_to(target)
    assert rdo_encode("--iters", 0, "--overwrite", "-o", "out", "in") == 0
    assert rdo_decode("--overwrite", "out") == 0
    assert not any((folder / name).is_symlink() for name in ("out/a.png.rdo", "out/a.png.png"))
    assert target.exists() != dangling and (dangling or target.read_text() == "precious")


def test_no_command_uses_the_network(
    save_photo: Any, rdo_encode: Any, rdo_decode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 2, "in") == 0 and rdo_decode("rdo-out") == 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_is_unpickled_or_executed(path: Path) -> None:
    """Tensors come from safetensors alone; a pickle in any form could run a stranger's code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "marshal", "shelve", "dill", "joblib", "urllib.request", "requests"}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "os.system", "yaml.load", "np.load", "torch.hub.load")
            if called == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)


def test_dependencies_have_lower_bounds_and_the_entropy_coder_one_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["compare"]
    assert all(">=" in r or r == "constriction==0.5.0" for r in needed)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root can write to")
def test_an_output_that_cannot_be_written_is_said_before_any_work(
    save_photo: Any, rdo_encode: Any, capsys: Any
) -> None:
    save_photo("in/a.png")
    assert rdo_encode("-o", "/proc/nowhere", "in") == 1
    assert "/proc/nowhere" in capsys.readouterr().err
