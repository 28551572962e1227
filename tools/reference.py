"""Write docs/cli.md and docs/settings.md from the code.

python tools/reference.py [--check]
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from betabloom.cli.main import GROUPS, command
from betabloom.config import PRESETS, SECTIONS

DOCS = Path(__file__).parents[1] / "docs"


def settings_page() -> str:
    """Every setting, with its meaning, default, range or choices, and what the presets change."""
    parts = [
        "# Settings",
        "Every setting of a training. On the command line: `--set NAME=VALUE`, or the option of that name if there is "
        "one; in Python: `betabloom.fit(pictures, NAME=VALUE)`. A run directory keeps them in `config.yaml`. "
        "This page is made from the code by `make docs-reference`.",
    ]
    for name, section in SECTIONS.items():
        parts.append(f"## `{name}`: {_lower((section.__doc__ or '').strip().rstrip('.'))}")
        rows = ["| setting | default | values | meaning |", "|---|---|---|---|"]
        rows += [_row(setting) for setting in dataclasses.fields(section)]
        parts.append("\n".join(rows))
    parts.append("## Presets\n\n`--preset NAME` changes the defaults above:")
    for name, changes in PRESETS.items():
        parts.append(f"- `{name}`: " + ", ".join(f"`{key}` {_value(value)}" for key, value in changes.items()))
    return "\n\n".join(parts) + "\n"


def _row(setting: dataclasses.Field[Any]) -> str:
    between, choices = setting.metadata["between"], setting.metadata["choices"]
    values = f"{between[0]:g} … {between[1]:g}" if between else ", ".join(f"`{each}`" for each in choices)
    if setting.type == "bool":
        values = "`true`, `false`"
    return f"| `{setting.name}` | {_value(setting.default)} | {values} | {_cell(setting.metadata['help'])} |"


def _cell(text: str) -> str:
    """Text as Markdown in a table: a bar would end the cell, and two asterisks would make italics."""
    return text.replace("|", "/").replace("*", r"\*")


def _value(value: Any) -> str:
    if value in ("", ()):
        return "–"
    if isinstance(value, tuple):
        return "`" + ",".join(map(str, value)) + "`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def cli_page() -> str:
    """Every command with its usage, examples, arguments and options."""
    parts = [
        "# The command line",
        "`betabloom COMMAND --help` prints the same. Exit codes: 0 done, 1 failed, 2 wrong use, 130 stopped; "
        "with `--json`, results "
        'and errors are JSON on stdout (`{"error": …, "exit_code": …}`). This page is made from the code by '
        "`make docs-reference`.",
    ]
    for group, names in GROUPS.items():
        parts.append(f"## {group}")
        for name in names:
            parts += _command(name)
    return "\n\n".join(parts) + "\n"


def _command(name: str) -> list[str]:
    this = command(name)
    described, examples = this.description(), this.examples()
    parts = [f"### `betabloom {name}`", f"```text\n{this.usage()}\n```", described]
    if examples:
        parts.append(f"```sh\n{examples}\n```")
    rows = [f"| `{term}` | {_cell(text)} |" for listed in this.rows().values() for term, text in listed]
    parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    return parts


def main() -> int:
    """Write the pages, or say which are stale."""
    stale = []
    for name, text in (("settings.md", settings_page()), ("cli.md", cli_page())):
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale) or 'nothing'}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
