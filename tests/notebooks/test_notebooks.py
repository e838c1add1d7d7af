"""Every notebook runs from top to bottom, and none is stored with outputs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def source(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_each_chapter_has_one_notebook_that_runs_its_demos() -> None:
    from meminspect import demos

    chapters: dict[str, list[str]] = {}
    for name in demos.names():
        chapters.setdefault(demos.load(name).chapter, []).append(name)
    assert [path.stem.partition("-")[0] for path in NOTEBOOKS] == sorted(chapters)
    for path in NOTEBOOKS:
        run = re.findall(r'meminspect\.demo\("([a-z-]+)"\)', source(path))
        assert sorted(run) == sorted(chapters[path.stem.partition("-")[0]]), path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}


@pytest.mark.ends  # the demos in them are run under every interpreter, by tests/interpreter/test_demos.py
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed by a kernel of this very interpreter; an exception in a cell fails the test."""
    for module, extra in (("nbclient", "test"), ("ipykernel", "test")):
        pytest.importorskip(module, reason=f"{module} is missing: pip install 'meminspect[{extra}]'")
    import nbformat
    from nbclient import NotebookClient

    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("MEMINSPECT_DEMO_FAST", "1")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data.get("text/html", "") for output in outputs if output.output_type == "execute_result"]
    assert any("The claim was" in html for html in shown)
    assert not any("The claim was not held" in html for html in shown)
