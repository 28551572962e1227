"""Notebooks from their text: `python tools/book/notebooks.py [FOLDER]`; --colab renews the one that Colab opens."""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext

ROOT = Path(__file__).parents[2]
COLAB = "first_pictures"  # Colab opens .ipynb files only


def converted(path: Path) -> str:
    """The notebook as .ipynb, without outputs, with names of cells that do not change."""
    notebook = jupytext.read(path)
    notebook.metadata.pop("jupytext", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    return str(jupytext.writes(notebook, fmt="ipynb")) + "\n"


def main() -> None:
    """Write them."""
    if "--colab" in sys.argv:
        (ROOT / "notebooks" / f"{COLAB}.ipynb").write_text(
            converted(ROOT / "notebooks" / f"{COLAB}.py"), encoding="utf-8"
        )
        return
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "notebooks")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        (folder / path.with_suffix(".ipynb").name).write_text(converted(path), encoding="utf-8")
        print(folder / path.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main()
