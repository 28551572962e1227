"""The house rules that a machine can hold: which way imports point, what loads nothing heavy, what is public."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import betabloom

SOURCE = Path(betabloom.__file__).parent
README = Path(__file__).parents[1] / "README.md"

# A module may import from its own level and those below it.
LEVELS = [
    {"errors", "locking", "durable"},
    {"header", "noise", "series"},
    {"layers"},
    {
        "posterior",
        "schedule",
        "metrics",
        "plot",
        "codes",
        "plan",
        "console",
        "hardware",
        "cpu",
        "factored",
        "augment",
        "colour",
        "wallpaper",
        "doctor",
        "trackers",
        "chart",
        "report_page",
        "tensors",
        "stopping",
    },
    {"likelihood", "prior"},
    {"objective", "nn", "aggregate", "parzen"},
    {"vae", "flow", "frozen"},
    {"config", "sample", "data", "wish", "lean_decoder", "crew"},
    {"guide", "optimiser", "samplers", "modeldir"},
    {"lean"},
    {"checkpoint", "rundir"},
    {"run", "novel", "evaluation", "wider", "critic", "start", "refit"},
    {"memory", "eye", "resume", "batches"},
    {"validate", "evaluate", "advice", "sharpen"},
    {"budget", "rollback", "enlarge", "replay"},
    {"train", "report"},
    {"library"},
    {"cli_options", "cli_plain"},
    {"cli_pictures"},
    {"cli_data", "cli_cache", "cli_generate", "cli_evaluate", "cli_runs", "cli_sharpen"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
MODEL_CODE = {name for names in LEVELS[4:7] for name in names} | {
    "posterior",
    "schedule",
    "sample",
    "config",
    "checkpoint",
}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def place(path: Path) -> str:
    """The name of a module, or of the package it lies in."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Modules and packages of ours that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "betabloom":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("betabloom."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("betabloom.")}
    return names & (set(LEVEL) | {"cli"})


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    own = place(path)
    assert own in LEVEL, f"{own} has no place in the architecture: add it to LEVELS here and to the README's file tree"
    for other in imported(path) - {own}:
        assert LEVEL[other] <= LEVEL[own], f"{own} imports {other}, which stands above it"
        assert LEVEL[other] < LEVEL[own] or own in ("prior", "likelihood", "aggregate"), (
            f"{own} and {other} are siblings"
        )


@pytest.mark.parametrize("own", ["data", "metrics", "plot", "doctor", "trackers"])
def test_what_stands_beside_the_model_imports_no_model_code(own):
    for path in modules():
        if place(path) == own:
            assert not imported(path) & MODEL_CODE, path


def loaded_by(code: str) -> set[str]:
    program = f"import sys; {code}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    code = "import contextlib, io\nfrom typer.testing import CliRunner\nfrom betabloom.cli import app\n"
    code += "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
    program = f"import sys\n{code}print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "PIL", "scipy", "matplotlib", "rich.progress", "safetensors", "yaml"}
    assert not heavy & set(result.stdout.splitlines()[-1].split())


def test_the_package_loads_nothing_and_the_data_package_no_torch():
    assert "torch" not in loaded_by("import betabloom")
    assert not {"torch", "scipy", "matplotlib"} & loaded_by("import betabloom.data")


def test_public_names_are_importable_and_listed_by_dir():
    for name in betabloom.__all__:
        assert getattr(betabloom, name) is not None
        assert name in dir(betabloom)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        betabloom.nothing  # noqa: B018


def test_the_readme_documents_the_public_names_and_the_file_tree():
    text = README.read_text(encoding="utf-8")
    section = text.split("## Python", 1)[1].split("\n## ", 1)[0]
    documented = set(re.findall(r"^\| `(?:betabloom\.)?(\w+)", section, re.MULTILINE))
    assert documented == set(betabloom.__all__)
    tree = text.split("## The files", 1)[1].split("\n## ", 1)[0]
    for path in modules():
        assert place(path) in tree, f"the README's file tree lacks {place(path)}"


def test_no_pickle():
    # The weights of the feature networks come as .pth inside a pinned package: one call reads them, tensors only.
    guarded = 'torch.load(path, map_location="cpu", weights_only=True)'
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if path == SOURCE / "metrics" / "lite.py":
            assert text.count(guarded) == 1
            text = text.replace(guarded, "")
        assert not re.search(
            r"^\s*(import|from) (pickle|dill|cloudpickle|joblib)|torch\.load\(|allow_pickle=True", text, re.M
        )
