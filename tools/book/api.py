"""The reference of the Python API, from the docstrings: one page for each room of the package."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import betabloom

SECTIONS = ("Arguments", "Args", "Returns", "Raises", "Attributes", "Yields", "Examples")
EXAMPLE = re.compile(r"^ *>>> .*\n(?:^ *\S.*(?:\n|\Z))*", re.MULTILINE)  # to the next empty line
ROOMS = {
    "betabloom": "What `import betabloom` offers",
    "betabloom.data": "Pictures: sources, pipelines, stores",
    "betabloom.vae": "The mathematics: posterior, likelihood, prior, objective",
    "betabloom.networks.spec": "Networks as descriptions",
    "betabloom.samplers": "Densities fitted to codes",
    "betabloom.metrics": "Measures",
    "betabloom.metrics.disentanglement": "Scores of disentanglement",
    "betabloom.latent": "The latent space as a tool",
    "betabloom.refine.sharpen": "A finished model: sharper",
    "betabloom.refine.enlarge": "A finished model: larger",
    "betabloom.refine.refit": "A finished model: the manner of other pictures",
    "betabloom.generate.request": "A request for pictures",
    "betabloom.reports.evaluate": "The evaluation of a model",
    "betabloom.reports.share": "A model as one HTML file",
    "betabloom.imaging.sheets": "Sheets of pictures",
    "betabloom.imaging.animation": "Animations",
    "betabloom.export": "ONNX, torch.export, MLflow, the Hub",
}


def names(room: str) -> list[str]:
    """The public functions and classes of a room."""
    module = importlib.import_module(room)
    listed = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    return [name for name in sorted(listed) if callable(getattr(module, name))]


def api_pages() -> dict[str, str]:
    """The text of each page by its name."""
    rows = [f"| [`{room}`]({room}.md) | {title} |" for room, title in ROOMS.items()]
    first = "# Python API\n\nMade from the docstrings, which hold formulas, shapes, units and sources.\n\n"
    rows = ["| module | |", "|---|---|", *rows]
    return {"index": first + "\n".join(rows) + "\n"} | {room: _page(room, title) for room, title in ROOMS.items()}


def _page(room: str, title: str) -> str:
    module = importlib.import_module(room)
    about = "" if module is betabloom else _docstring(inspect.getdoc(module) or "")
    parts = [f"# {room}", f"*{title}.*", about]
    for name in names(room):
        parts += _entry(name, getattr(module, name))
    return "\n\n".join(part for part in parts if part) + "\n"


def _entry(name: str, thing: Any) -> list[str]:
    parts = [f"## {name}", f"```python\n{_signature(name, thing)}\n```", _docstring(inspect.getdoc(thing) or "")]
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            if not member.startswith("_") and inspect.isfunction(function) and inspect.getdoc(function):
                parts += [f"### {name}.{member}", f"```python\n{_signature(member, function)}\n```"]
                parts += [_docstring(inspect.getdoc(function) or "")]
    return parts


def _signature(name: str, thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return name
    listed = [re.sub(r"<(\w+[\w.]*) object at 0x[0-9a-f]+>", r"\1(…)", str(p)) for p in signature.parameters.values()]
    listed = [re.sub(r"'([\w\[\]|., ]+)'", r"\1", each, count=1) if ": '" in each else each for each in listed]
    listed = [] if [each.split(":")[0] for each in listed] == ["*args", "**kwargs"] else listed  # torch.nn.Module's own
    returned = signature.return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {str(returned).strip(chr(39))}"
    line = f"{name}({', '.join(listed)}){arrow}"
    return line if len(line) < 100 else f"{name}(\n    " + ",\n    ".join(listed) + f",\n){arrow}"


def _docstring(text: str) -> str:
    """Google style as Markdown: sections become lists, examples code, all else is Markdown already."""
    text = EXAMPLE.sub(lambda found: f"```pycon\n{inspect.cleandoc(found[0])}\n```\n", text)
    out: list[str] = []
    inside = False
    for line in text.splitlines():
        if match := re.fullmatch(rf"({'|'.join(SECTIONS)}):", line):
            inside = match[1] not in ("Returns", "Yields")
            out += ["", f"**{match[1]}**", ""]
        elif inside and (entry := re.match(r" {4}(\*{0,2}[\w, *]+): (.*)", line)):
            out.append(f"- `{entry[1]}`: {entry[2]}")
        elif inside and line.startswith("        "):
            out.append("  " + line.strip())
        else:
            inside = inside and (not line or line.startswith(" "))
            out.append(line.removeprefix("    ") if out and not inside and _after_section(out) else line)
    return "\n".join(out)


def _after_section(out: list[str]) -> bool:
    """Whether the last heading of a section is that of Returns or Yields, whose text is indented."""
    heads = [line for line in out if re.fullmatch(rf"\*\*({'|'.join(SECTIONS)})\*\*", line)]
    return bool(heads) and heads[-1] in ("**Returns**", "**Yields**")
