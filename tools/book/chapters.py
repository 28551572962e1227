"""What the site and the PDF share: reading the chapters, their figures, citations and links."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BOOK = DOCS / "book"
REFERENCES = BOOK / "references.json"

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+(?:\n[^$\n]+)?)(?<!\s)\$(?![\d$])")
FIGURE = re.compile(r"^!\[(?P<caption>[^\]]+)\]\((?P<path>[^)]+)\)$", re.MULTILINE)
LIVE = re.compile(r"^\[Live figure: (?P<caption>[^\]]+)\]\((?P<path>live/[\w-]+\.html)\)$", re.MULTILINE)
CITATION = re.compile(r"\[(@[a-z]+\d{4}\w*[^\]]*)\]")
OPERATOR = re.compile(r'(<mi mathvariant="normal">\w+</mi>)<mo>(?:&#8289;|\u2061)</mo>')
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def chapters() -> list[Path]:
    """The files of the book in order, without its list of references."""
    return [BOOK / "index.md", *sorted(BOOK.glob("[0-9][0-9]-*.md"))]


def references() -> dict[str, dict[str, object]]:
    """The entries of the bibliography (CSL JSON) by key."""
    return {entry["id"]: entry for entry in json.loads(REFERENCES.read_text(encoding="utf-8"))}


def outside_code(text: str, change: object) -> str:
    """Apply change(text) to all that is not code."""
    parts, place = [], 0
    for match in FENCE.finditer(text):
        parts += [change(text[place : match.start()]), match[0]]  # type: ignore[operator]
        place = match.end()
    return "".join([*parts, change(text[place:])])  # type: ignore[operator]


def _surname(author: dict[str, str]) -> str:
    return f"{author.get('non-dropping-particle', '')} {author.get('family', 'others')}".strip()


def author_year(entry: dict[str, object]) -> str:
    """Kingma & Welling 2014, Higgins et al. 2017."""
    names = [_surname(author) for author in entry["author"]]  # type: ignore[attr-defined]
    who = f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
    return f"{who} {entry['issued']['date-parts'][0][0]}"  # type: ignore[index]


def cited(text: str, known: dict[str, dict[str, object]], page: str) -> str:
    """Citations as links to the list of references: [@a, section 2; @b] → ([A 2014](…), section 2; [B 2015](…))."""

    def one(part: str) -> str:
        key, _, rest = part.strip().lstrip("@").partition(",")
        return f"[{author_year(known[key])}]({page}#ref-{key})" + (f",{rest}" if rest else "")

    return CITATION.sub(lambda match: "(" + "; ".join(one(part) for part in match[1].split(";")) + ")", text)


def spaced(html: str) -> str:
    """The MathML of pandoc with thin spaces around operators such as log."""
    return OPERATOR.sub(r'<mspace width="0.16em"/>\1<mspace width="0.16em"/>', html)
