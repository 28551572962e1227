"""The book as one PDF, from the Markdown of the site: `python tools/book/pdf.py [-o FILE]`.

pandoc (with citations) writes Typst, and the typst compiler makes the PDF; both are Python packages that bring their
program along.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pypandoc
import typst

sys.path.insert(0, str(Path(__file__).parent))
from chapters import BOOK, DOCS, LINK, LIVE, REFERENCES, ROOT, chapters, outside_code

STYLE = """
#set page(paper: "a4", margin: (x: 2.4cm, top: 2.1cm, bottom: 2.3cm), numbering: "1")
#set text(font: ("Libertinus Serif", "New Computer Modern"), size: 10.5pt, lang: "en")
#set par(justify: true)
#show raw: set text(font: "DejaVu Sans Mono", size: 8.2pt)
#show raw.where(block: true): it => block(fill: luma(245), inset: 7pt, radius: 3pt, width: 100%, it)
#show heading.where(level: 1): set text(size: 20pt)
#show heading.where(level: 1): set block(above: 0pt, below: 1em)
#show heading.where(level: 1): it => { pagebreak(weak: true); it }
#show heading.where(level: 2): set block(above: 1.5em, below: 0.8em)
#set figure(placement: bottom)
#show figure.where(kind: table): set figure(placement: none)
#show figure: set block(breakable: false)
#show figure.caption: set text(size: 9pt)
#show table.cell.where(y: 0): strong
#show table: set text(size: 8.8pt)
#show table: set par(justify: false)
#show table: set align(left)
#set table(inset: (x: 5pt, y: 4pt), stroke: none, fill: (_, y) => if calc.odd(y) { luma(247) })
#show link: set text(fill: rgb("#5b2a86"))
#let horizontalrule = line(length: 100%, stroke: 0.5pt)
"""
TITLE = """
#page(numbering: none)[
  #v(1fr)
  #text(size: 30pt, weight: "bold")[The β-VAE book]
  #v(0.5em)
  #text(size: 14pt)[What variational auto-encoders are, with measurements]
  #v(2em)
  #image("figures/camouflage.png", width: 100%)
  #v(0.5em)
  #text(size: 9.5pt)[Codes from the prior (top) and from a density that was fitted to codes of real pictures
  (bottom), decoded by the same model. Chapter 5 explains the difference.]
  #v(1fr)
  The betabloom authors
]
#show outline.entry.where(level: 1): set block(above: 0.9em)
#outline(depth: 1)
"""


def identifier(path: Path) -> str:
    """The anchor of a chapter."""
    return "chapter-" + path.stem


def chapter(path: Path) -> str:
    """The Markdown of a chapter for pandoc: an anchor, links within the book, sentences in place of live figures."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\A# (.*)$", rf"# \1 {{#{identifier(path)}}}", text, count=1, flags=re.MULTILINE)

    text = LIVE.sub(r"*Live figure on the site:* \g<caption>.", text)
    return outside_code(text, lambda part: LINK.sub(lambda match: _link(match, path.parent), part))


def _link(match: re.Match[str], home: Path) -> str:
    text, target = match["text"], match["target"].partition("#")[0]
    if re.match(r"[a-z]+:", match["target"]):
        return match[0]
    path = (home / target).resolve()
    if path == BOOK / "references.md":
        return f"[{text}](#references)"
    if path in [*chapters(), DOCS / "errata.md"]:
        return f"[{text}](#{identifier(path)})"
    return text


def typst_source() -> str:
    """The whole book in Typst."""
    parts = [chapter(path) for path in [*chapters(), DOCS / "errata.md"]]
    parts[0] = parts[0].replace("# The β-VAE book", "# About this book")
    text = "\n\n".join(parts) + "\n\n# References {#references}\n\n::: {#refs}\n:::\n"
    options = ["--citeproc", f"--bibliography={REFERENCES}", "--metadata=link-citations:true", "--wrap=none"]
    options += ["--columns=10000"]  # so that columns of tables are as wide as what is in them
    made: str = pypandoc.convert_text(text, "typst", "markdown-smart", options)
    made = made.replace("dot.circle", "dot.o")  # the name that Typst has today
    return STYLE + TITLE + re.sub(r"\d+(?: \\, \d{3})+(?!\d)", lambda match: _number(match[0]), made)


def _number(text: str) -> str:
    """7{,}169 as one number, not as two with a comma between them."""
    return '"' + text.replace(" \\, ", ",") + '"'


def write(out: Path) -> None:
    """Write the PDF."""
    out.parent.mkdir(parents=True, exist_ok=True)
    source = BOOK / ".book.typ"  # beside the figures, whose paths are relative
    try:
        source.write_text(typst_source(), encoding="utf-8")
        typst.compile(source, output=out)
    finally:
        source.unlink(missing_ok=True)


def main() -> None:
    """Write it to where the arguments say, and say so."""
    out = Path(sys.argv[sys.argv.index("-o") + 1] if "-o" in sys.argv else ROOT / "build/book.pdf")
    write(out)
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
