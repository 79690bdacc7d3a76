"""Notebooks: committed without outputs, each runs from top to bottom in a kernel of its own and shows its curves."""

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `test` brings it")
nbclient = pytest.importorskip("nbclient", reason="the extra `test` brings it")
pytest.importorskip("ipykernel", reason="the extra `test` brings it")
pytest.importorskip("matplotlib", reason="the extra `plot` brings it")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "rdo/notebooks").glob("*.ipynb"))


def text_of(cells: list[Any]) -> str:
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))


def cell(notebook: Any, name: str) -> Any:
    return next(each for each in notebook.cells if each.id == name)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    codes = [each for each in notebook.cells if each.cell_type == "code"]
    assert codes and all(not each.outputs and each.execution_count is None for each in codes)


def test_own_functions_take_at_most_15_lines() -> None:
    notebook = nbformat.read(ROOT / "rdo/notebooks/first_steps.ipynb", 4)
    for name in ("own-relaxation-run", "own-metric-run"):
        assert len([line for line in cell(notebook, name).source.splitlines() if line.strip()]) <= 15


def test_the_first_steps_run_and_show_what_they_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable, value in (("PYTHONPATH", str(ROOT)), ("OMP_NUM_THREADS", "1"), ("IPYTHONDIR", str(tmp_path))):
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(ROOT / "rdo/notebooks/first_steps.ipynb", 4)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    files = {
        name: (int(size), float(db), float(score))
        for name, size, db, score in re.findall(
            r"^(\S.*?) +(\d+) bytes +([\d.]+) dB  SSIMULACRA 2 +(-?[\d.]+)$", text_of(notebook.cells), re.MULTILINE
        )
    }
    assert set(files) == {"plain", "refined", "for the eye"}
    saved = float(re.search(r"cost ([\d.]+) % below", text_of([cell(notebook, "refine-run")]))[1])  # type: ignore[index]
    assert saved > 2
    assert files["for the eye"][2] > files["refined"][2] + 4
    gains = re.findall(r"(\S+) +cost +([\d.]+) % below plain", text_of([cell(notebook, "own-relaxation-run")]))
    assert [name for name, _ in gains] == ["__main__:line", "linear"]
    assert all(float(gain) > 2 for _, gain in gains)
    found = re.findall(r"(\S.*?) +(\d+) bytes, error of edges ([\d.]+)", text_of([cell(notebook, "own-metric-run")]))
    edges = {name: (int(size), float(error)) for name, size, error in found}
    assert edges["for edges"][0] < 0.97 * edges["plain"][0] and edges["for edges"][1] < 1.03 * edges["plain"][1]
    for name in ("refine-run", "look-run", "compare-run"):
        assert any("image/png" in output.get("data", {}) for output in cell(notebook, name).outputs), name
