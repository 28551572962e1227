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

# Rooms from the ground up: a module may import from its own room, of those below, and of nothing that stands beside it.
FLOORS = [
    {"errors", "version", "faces"},
    {"arguments"},
    {"seeds", "config"},
    {"system"},
    {"imaging", "metrics", "data"},
    {"networks"},
    {"vae"},
    {"samplers"},
    {"model"},
    {"training", "refine", "generate", "latent", "export"},
    {"stages"},
    {"reports", "library", "estimator"},
    {"studio"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Inside data, from the ground up.
SHELVES = ["pictures", "sources", "store", "inspection", "picture"]
MODEL_CODE = {room for rooms in FLOORS[5:] for room in rooms}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def place(path: Path) -> str:
    """The room that a module lies in; a module outside all folders is its own room."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


MODULES = {dotted(path) for path in modules()}


def imported(path: Path) -> set[str]:
    """Modules and rooms of ours that a file imports, wherever in the file; names of a face count as its room."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "betabloom":
            home = (node.module or "").removeprefix("betabloom").lstrip(".")
            for alias in node.names:
                full = f"{home}.{alias.name}".lstrip(".")
                names.add(full if full in MODULES or full in FLOOR else home)
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("betabloom.") for alias in node.names if "betabloom." in alias.name}
    return names - {""}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    own = place(path)
    assert own in FLOOR, f"{own} has no place in the architecture: add it to FLOORS here and to the README's map"
    for other in {name.split(".")[0] for name in imported(path)} - {own}:
        assert FLOOR[other] < FLOOR[own], f"{own} imports {other}, which does not stand below it"


def test_nothing_inside_imports_the_package_itself():
    """`import betabloom` inside would let every room reach every other through the face of the whole."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Import) and "betabloom" in [alias.name for alias in node.names]), path


def private_names(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Names with one leading underscore: those that a file defines, and those of others that it uses."""
    defined, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            defined.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names}
    return tuple({name for name in names if re.match("_[^_]", name)} for names in (defined, used))  # type: ignore[return-value]


def test_a_private_name_stays_in_its_file():
    names = {path: private_names(ast.parse(path.read_text(encoding="utf-8"))) for path in modules()}
    ours = set().union(*(defined for defined, _ in names.values()))
    assert "_key" in ours
    for path, (defined, used) in names.items():
        assert not (used - defined) & ours, f"{path} uses a private name of another file"


@pytest.mark.parametrize("room", sorted({dotted(path).rpartition(".")[0] for path in modules()} - {""}))
def test_no_room_has_a_cycle(room):
    inside = {name: path for path in modules() if (name := dotted(path)).rpartition(".")[0] == room}
    arrows = {name: imported(path) & inside.keys() for name, path in inside.items()}
    while free := {name for name, others in arrows.items() if not others}:
        arrows = {name: others - free for name, others in arrows.items() if name not in free}
    assert not arrows, f"these import one another: {arrows}"


def test_the_shelves_of_data_stand_on_one_another():
    for path in modules():
        own = dotted(path).split(".")
        if own[0] != "data":
            continue
        for other in imported(path):
            if other.startswith("data.") and other.split(".")[1] != own[1]:
                assert SHELVES.index(other.split(".")[1]) < SHELVES.index(own[1]), f"{dotted(path)} imports {other}"


@pytest.mark.parametrize("own", ["data", "metrics", "imaging", "system"])
def test_what_stands_below_the_model_imports_no_model_code(own):
    for path in modules():
        if place(path) == own:
            assert not {name.split(".")[0] for name in imported(path)} & MODEL_CODE, path


def loaded_by(code: str) -> set[str]:
    program = f"import sys; {code}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    code = "from betabloom.cli.main import COMMANDS, command, overview\noverview()\n"
    code += "for name in COMMANDS: command(name).help()\n"
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
    tree = text.split("## The map", 1)[1].split("\n## ", 1)[0]
    for path in modules():
        assert f"`{place(path)}/`" in tree or f"`{place(path)}.py`" in tree, f"the README's map lacks {place(path)}"


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
