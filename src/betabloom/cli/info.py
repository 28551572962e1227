"""`betabloom info`: what a model, picture or code file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import Json, aligned, print_lines
from betabloom.errors import UsageError

__all__ = ["info"]


def info(
    what: Annotated[Path, Argument("A model or run directory, a picture made here, or a file of codes.")],
    layers: Annotated[bool, Option("--layers", help="List the layers of a model with their shapes.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a model, picture or code file is, and how a picture was made.

    Examples:
      betabloom info flowers64
      betabloom info generated-7.png    # prints the command that makes it again
    """
    from betabloom.model.directory import is_bundled

    if not what.exists() and not is_bundled(what):
        raise UsageError(f"There is no file or folder {what}.")
    if what.is_dir() or not what.exists():
        facts, lines = _of_model(what, layers)
    elif layers:
        raise UsageError(f"{what} is a file, not a model: it has no layers.")
    else:
        facts = _of_file(what)
        lines = _table(facts)
    print_lines(as_json, lines, **facts)


def _of_file(path: Path) -> dict[str, Any]:
    """Facts about a picture or a file of codes."""
    if path.suffix.lower() in (".npz", ".npy", ".csv", ".parquet"):
        from betabloom.model.code_tables import read_codes

        codes = read_codes(path)
        return {"codes": len(codes.names), "latents": codes.mean.shape[1], "model": codes.model}
    facts = _record(path)
    if facts.get("verb") == "generate":
        from betabloom.generate.writing import command_to_repeat

        facts["again"] = command_to_repeat(facts)
    return facts


def _of_model(path: Path, layers: bool) -> tuple[dict[str, Any], list[str]]:
    """Facts about a model, and lines for a person."""
    from betabloom.model.directory import describe

    facts = describe(path)
    lines = _table({key: value for key, value in facts.items() if key != "samplers_measured"})
    if layers:
        from betabloom.model.directory import read_description
        from betabloom.vae.describe import describe_layers

        facts["layers"] = found = describe_layers(read_description(path).config)
        lines += ["", *aligned([list(found[0]), *([_written(value) for value in each.values()] for each in found)])]
    return facts, lines


def _table(facts: dict[str, Any]) -> list[str]:
    """One line for each fact, the parts of a nested one below it."""
    lines = []
    for key, value in facts.items():
        name = key.replace("_", " ")
        if isinstance(value, dict) and value:
            lines += [f"{name}:", *(f"  {line}" for line in _table(value))]
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for each in value:
                lines += [f"{name}:", *(f"  {line}" for line in _table(each))]
        else:
            lines.append(f"{name:<20} {value if key == 'seed' else _written(value)}")
    return lines


def _written(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    if isinstance(value, list):
        text = ", ".join(map(_written, value[:12]))
        return f"{text} … ({len(value)} in all)" if len(value) > 12 else text
    return str(value)


def _record(path: Path) -> dict[str, Any]:
    """How a picture or an animation was made."""
    from betabloom.imaging.output import read_record

    return read_record(path)
