"""What people call says what it takes, gives and refuses; its examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import textwrap

import pytest

import betabloom
from betabloom import errors

ROOMS = betabloom._ROOMS.split()
OURS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}


def public():
    """Functions, and methods of classes, that a face shows: {name: function}."""
    faces = [betabloom, *(importlib.import_module(f"betabloom.{room}") for room in ROOMS)]
    shown = {value for face in faces for name in getattr(face, "__all__", ()) if callable(value := getattr(face, name))}
    found = {}
    for each in shown:
        if inspect.isfunction(each):
            found[f"{each.__module__}.{each.__qualname__}"] = each
        elif inspect.isclass(each):
            for name, method in vars(each).items():
                function = inspect.unwrap(getattr(method, "__func__", method))
                if inspect.isfunction(function) and not name.startswith("_"):
                    found[f"{each.__module__}.{function.__qualname__}"] = function
    return {name: found[name] for name in sorted(found) if name.startswith("betabloom.")}


PUBLIC = public()


def described(name):
    """The docstring, or that of the method which this one carries out."""
    function = PUBLIC[name]
    owner = getattr(importlib.import_module(function.__module__), function.__qualname__.split(".")[0])
    if function.__doc__ or not inspect.isclass(owner):
        return function.__doc__ or ""
    of_bases = (getattr(getattr(base, function.__name__, None), "__doc__", None) for base in owner.__mro__)
    return next(filter(None, of_bases), "")


def lacks(name):
    """The sections that its docstring should have, and has not."""
    function, text = PUBLIC[name], described(name)
    parameters = [each for each in inspect.signature(function).parameters if each not in ("self", "cls")]
    if len(parameters) < 3:
        return []
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    raised = {ast.unparse(node.exc.func) for node in ast.walk(tree)
              if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)}  # fmt: skip
    wanted = {
        "Arguments:": True,
        "Returns:": tree.returns is not None and ast.unparse(tree.returns) != "None",
        "Raises:": bool(raised & OURS),
    }
    either = {"Returns:": ("Returns:", "Yields:")}
    return [each for each, needed in wanted.items() if needed and not any(s in text for s in either.get(each, (each,)))]


def test_public_functions_of_three_parameters_have_every_section():
    assert len(PUBLIC) > 100
    missing = {name: found for name in PUBLIC if (found := lacks(name))}
    assert not missing, "\n".join(f"{name}: {' '.join(found)}" for name, found in missing.items())


EXAMPLES = [name for name in PUBLIC if ">>>" in (PUBLIC[name].__doc__ or "")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_show_what_happens(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETABLOOM_CACHE", str(tmp_path / "cache"))
    (example,) = doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name, globs={})
    said = []
    found = doctest.DocTestRunner().run(example, out=said.append)
    assert found.attempted > 1
    assert not found.failed, "".join(said)


def test_the_most_used_functions_have_examples():
    used = {"load", "prepare", "fit", "grid", "open_source", "inspect", "Config.preset"}
    used |= {f"Model.{name}" for name in ("generate", "encode", "decode", "reconstruct", "vary")}
    assert used <= {name.partition(f"{PUBLIC[name].__module__}.")[2] for name in EXAMPLES}
