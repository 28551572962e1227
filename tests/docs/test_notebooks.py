"""The notebooks run from top to bottom, and the one that Colab opens is the one that is kept as text."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
FEWER = {
    r"^STEPS = \d+": "STEPS = 20",
    r"^COUNT, STEPS = \d+, \d+": "COUNT, STEPS = 200, 30",
    "drawn:1000": "drawn:100",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if "sklearn" in path.read_text(encoding="utf-8"):
        pytest.importorskip("sklearn")
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = jupytext.read(path)
    for cell in notebook.cells:
        for pattern, other in FEWER.items():
            cell.source = re.sub(pattern, other, cell.source, flags=re.MULTILINE)
    assert "STEPS = 20" in "".join(cell.source for cell in notebook.cells) or "= 200, 30" in str(notebook)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown)


@pytest.mark.slow
def test_the_one_for_colab_is_the_one_that_is_kept_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jupytext")
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "book"))
    sys.modules.pop("notebooks", None)
    import notebooks

    text = (ROOT / "notebooks" / f"{notebooks.COLAB}.ipynb").read_text(encoding="utf-8")
    assert text == notebooks.converted(ROOT / "notebooks" / f"{notebooks.COLAB}.py")
    assert f"notebooks/{notebooks.COLAB}.ipynb" in (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
