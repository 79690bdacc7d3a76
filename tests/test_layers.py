"""Layers jobs -> rdo -> codec and those inside codec, no circle, one owner of each dependency: every import is read."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("codec", "rdo", "jobs")
FORBIDDEN = {"codec": {"rdo", "jobs"}, "rdo": {"jobs"}, "jobs": set()}
PILLOW = (
    "colour", "depth", "drawing", "formats", "headers", "jpeg", "lossless", "metadata", "opening", "outputs", "pillow",
    "pillow_guard", "raw_metadata", "read", "rows", "sheet", "stated_colour", "street",
)  # fmt: skip
OWNERS = {
    "compressai": {path.relative_to(ROOT).as_posix() for path in (ROOT / "codec/zoo").glob("*.py")},
    "constriction": {"codec/bitstream/range_coder.py"},
    "PIL": {f"codec/images/{name}.py" for name in PILLOW},
    "pytorch_msssim": {"codec/metrics/ms_ssim.py"},
    "yaml": {"codec/settings.py"},
    "skimage": {"jobs/demo.py"},
    "ray": {f"jobs/pools/{name}.py" for name in ("cluster", "ray", "ray_metrics")},
    "optuna": {"jobs/tuning/study.py", "jobs/tuning/open_study.py"},
    "matplotlib": {"jobs/measuring/plot.py"},
    "fsspec": {"codec/storage.py"},
}
FLOORS = (  # inside codec: each imports from its own floor and those before
    "allocator.py errors.py files.py lazy.py settings.py urls.py storage.py places.py architecture.py interface.py "
    "own_functions.py weight_cache.py arithmetic.py bitstream/container.py bitstream/tiles.py bitstream/boxes.py",
    "images/ metrics/",
    "networks/",
    "bitstream/",
    "gain_profiles.py hyper_latents.py model.py identity.py config_files.py shards.py checkpoint.py latents.py "
    "tiling.py coding.py metadata_boxes.py exact_choice.py encoding.py",
    "model_card.py zoo/ training/",
    "loading.py",
    "picture_files.py",
    "images/pillow.py",
    "__init__.py",
)


def imported(source: str, package: str = "") -> set[str]:
    """Top-level names of everything that source imports, inside functions too; `from . import` is its own package."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(package if node.level else str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "import_module",
            "importlib.import_module",
        ):
            names |= {str(a.value).partition(".")[0] for a in node.args[:1] if isinstance(a, ast.Constant)}
    return names


SOURCES = {
    path.relative_to(ROOT).as_posix(): imported(path.read_text(encoding="utf-8"), package)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import a.b, c as d
from e.f import g
from . import h
def lazy():
    if True:
        import i
        importlib.import_module("j.k")
"""
    assert imported(source, "own") == {"a", "c", "e", "own", "i", "j"}


def test_every_package_is_read() -> None:
    assert {name.partition("/")[0] for name in SOURCES} == set(PACKAGES)
    assert "torch" in SOURCES["codec/model.py"] and "codec" in SOURCES["rdo/refinement.py"]


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_down_only(name: str) -> None:
    upward = SOURCES[name] & FORBIDDEN[name.partition("/")[0]]
    assert not upward, f"{name} imports {', '.join(sorted(upward))}: jobs -> rdo -> codec, never back"


@pytest.mark.parametrize("dependency", OWNERS)
def test_one_file_owns_each_dependency(dependency: str) -> None:
    users = {name for name, names in SOURCES.items() if dependency in names}
    assert users <= OWNERS[dependency], f"{dependency} belongs to {', '.join(sorted(OWNERS[dependency]))}"


@pytest.mark.parametrize("dependency", ["constriction", "PIL", "matplotlib", "pytorch_msssim", "yaml", "optuna"])
def test_owners_exist(dependency: str) -> None:
    assert all(dependency in SOURCES[owner] for owner in OWNERS[dependency])


class _Imports(ast.NodeVisitor):
    """Collects the modules of this project that run when a file's code does: those for type checkers are left out."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        for child in node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else ast.iter_child_nodes(node):
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.names |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert not node.level, "imports are absolute here"
        self.names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}


def arrows(source: str, files: set[str]) -> set[str]:
    """Files that a source imports, at its top or in functions; a package is its `__init__`."""
    visitor = _Imports()
    visitor.visit(ast.parse(source))
    paths = {name.replace(".", "/") for name in visitor.names}
    return {path for name in paths for path in (f"{name}.py", f"{name}/__init__.py") if path in files}


GRAPH = {name: arrows((ROOT / name).read_text(encoding="utf-8"), set(SOURCES)) - {name} for name in SOURCES}


def floor_of(name: str) -> int:
    path = name.removeprefix("codec/")
    fits = [(len(p), i) for i, floor in enumerate(FLOORS) for p in floor.split() if path.startswith(p)]
    assert fits, f"{name} is on no floor: add it to FLOORS"
    return max(fits)[1]  # of the longest prefix


def test_arrows_are_found_wherever_they_stand() -> None:
    source = """
from typing import TYPE_CHECKING
import a.b
if TYPE_CHECKING:
    from a import typed
else:
    from a import other
def lazy():
    from a.c import name
    from a import d
"""
    files = {"a/__init__.py", "a/b.py", "a/c.py", "a/d.py", "a/typed.py", "a/other.py"}
    assert arrows(source, files) == files - {"a/typed.py"}
    assert "codec/zoo/loading.py" in GRAPH["codec/loading.py"] and "rdo/refinement.py" in GRAPH["rdo/target_search.py"]


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("name", [name for name in GRAPH if name.startswith("codec/")])
def test_imports_inside_codec_point_down(name: str) -> None:
    own = {path for path in GRAPH[name] if path.startswith("codec/")}
    upward = {path for path in own if floor_of(path) > floor_of(name)}
    assert not upward, f"{name} imports {', '.join(sorted(upward))}: networks < bitstream < coding < zoo, training"
