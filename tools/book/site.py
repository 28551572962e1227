"""Hooks of the site (mkdocs.yml): formulas as MathML, citations, live figures, sources that pages link to, the API.

Nothing in the site is loaded from other hosts: pandoc turns formulas into MathML when the site is made.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pypandoc
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import pdf
from api import api_pages
from chapters import (
    CITATION,
    DISPLAY,
    DOCS,
    FIGURE,
    INLINE,
    LINK,
    LIVE,
    REFERENCES,
    ROOT,
    cited,
    outside_code,
    references,
    spaced,
)
from slides import slides

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

TARGET = re.compile(
    r"(?P<code>^```.*?^```[^\n]*$|`[^`\n]+`)|(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)",
    re.DOTALL | re.MULTILINE,
)
INTERVAL = re.compile(r"\[([−-]?[\d.]+), ([−-]?[\d.]+)\]")
CODE_OF_A_LINE = re.compile(r"<code>[^<\n]*</code>")  # that of a block has a line break or marks within
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
LANGUAGES = {".py": "python", ".js": "javascript", ".c": "c", ".toml": "toml", ".txt": "text"}
SHOWN_AS_PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "benchmarks/README.md",
)
HEIGHTS = {
    "flowers": 700,
    "map": 660,
    "morph": 520,
    "kl": 560,
    "elbo": 560,
    "reparametrisation": 520,
    "likelihood": 520,
    "beta": 540,
}

formulas: dict[str, list[str]] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the API, the pages of the root, and every source that a page links to."""
    wanted = set(SHOWN_AS_PAGES)
    for file in [*files.documentation_pages(), *(_root_file(name) for name in SHOWN_AS_PAGES)]:
        text = (
            Path(file.abs_src_path).read_text(encoding="utf-8") if isinstance(file, File) else file.read_text("utf-8")
        )
        home = DOCS / PurePosixPath(file.src_uri).parent if isinstance(file, File) else file.parent
        wanted |= {path for path in (_outside(target, home) for _, target in LINK.findall(text)) if path}
    for path in sorted(wanted):
        files.append(File.generated(config, _place(path), content=_source_page(path)))
    for name, text in api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files


def _root_file(name: str) -> Path:
    return ROOT / name


def _outside(target: str, home: Path) -> str | None:
    """The path below the root of a file outside docs that a link names, or None."""
    if re.match(r"[a-z]+:|#", target):
        return None
    path = Path(os.path.normpath(home / target.partition("#")[0]))
    if not path.is_file() or not path.is_relative_to(ROOT) or path.is_relative_to(DOCS):
        return None
    return path.relative_to(ROOT).as_posix() if path.suffix in (*LANGUAGES, ".md") else None


def _place(path: str) -> str:
    return f"source/{path if path.endswith('.md') else path + '.md'}".replace("source/README.md", "source/overview.md")


def _source_page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    fence = "`````"
    return f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n{fence}{LANGUAGES[Path(path).suffix]}\n{text}\n{fence}\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to sources lead to their pages; in the book, figures, citations and formulas."""
    uri = page.file.src_uri
    if uri.startswith("book/"):
        markdown = FIGURE.sub(_figure, LIVE.sub(_live, markdown))
    original = uri.removeprefix("source/").replace("overview.md", "README.md")
    home = (ROOT if uri.startswith("source/") else DOCS) / PurePosixPath(original).parent
    text = markdown if _is_code(uri) else TARGET.sub(lambda match: _link(match, uri, home), markdown)
    return _book(text, uri) if uri.startswith("book/") else text


def _is_code(uri: str) -> bool:
    """Whether the page shows a file of code."""
    return Path(uri.removesuffix(".md")).suffix in LANGUAGES


def _up(uri: str) -> str:
    return "../" * uri.count("/")


def _link(match: re.Match[str], uri: str, home: Path) -> str:
    """A link or picture as the site has it; what is not part of the site is text, and code stays what it is."""
    if match["code"]:
        return match[0]
    target, _, anchor = match["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return match[0]
    path = Path(os.path.normpath(home / target))
    outside = _outside(target, home)
    if not outside and not (path.is_relative_to(DOCS) and path.is_file()):
        return match["text"]
    place = _place(outside) if outside else path.relative_to(DOCS).as_posix()
    return f"{match['mark']}[{match['text']}]({_up(uri)}{place}{'#' + anchor if anchor and not outside else ''})"


def _book(text: str, uri: str) -> str:
    found: list[str] = []

    def formula(match: re.Match[str]) -> str:
        found.append(match[0])
        return f"FORMULA{len(found) - 1}END"

    known = references()

    def change(part: str) -> str:
        part = INLINE.sub(formula, DISPLAY.sub(formula, part))
        return cited(part, known, "references.md") if CITATION.search(part) else part

    text = outside_code(text, change)
    if "<!-- references -->" in text:
        text = text.replace("<!-- references -->", _reference_list())
    formulas[uri] = found
    return text


def _figure(match: re.Match[str]) -> str:
    caption, path = match["caption"], match["path"]
    plain = caption.replace("`", "").replace("$", "").replace('"', "'")
    return (
        f'<figure markdown="span">\n![{plain}]({path})\n<figcaption markdown="span">{caption}</figcaption>\n</figure>'
    )


def _live(match: re.Match[str]) -> str:
    name = Path(match["path"]).stem
    caption = match["caption"]
    return (
        f'<figure class="live" markdown="span">\n<iframe src="{match["path"]}" title="{caption}" loading="lazy" '
        f'style="height:{HEIGHTS.get(name, 560)}px"></iframe>\n'
        f'<figcaption markdown="span">Live figure: {caption}. [Open it alone]({match["path"]})</figcaption>\n</figure>'
    )


def _reference_list() -> str:
    text = "---\nnocite: '@*'\n---\n"
    made = pypandoc.convert_text(text, "html", "markdown", ["--citeproc", f"--bibliography={REFERENCES}"])
    return f'<div class="references">\n{made}\n</div>'


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the MathML in place of the formulas, and keep together what must not be broken between lines."""
    return _unbroken(_with_formulas(html, page.file.src_uri))


def _with_formulas(html: str, uri: str) -> str:
    found = formulas.pop(uri, [])
    if not found:
        return html
    made = pypandoc.convert_text("\n\n".join(found), "html", "markdown", ["--mathml"])
    all_math: list[Any] = re.findall(r"<math.*?</math>", made, re.DOTALL)
    if len(all_math) != len(found):
        raise RuntimeError(f"{uri}: {len(found)} formulas, of which pandoc made {len(all_math)}.")
    all_math = [spaced(math) for math in all_math]
    shown = [_display(math) if text.startswith("$$") else math for text, math in zip(found, all_math, strict=True)]
    return re.sub(r"FORMULA(\d+)END([.,;:)]*)", lambda match: _kept_together(shown[int(match[1])], match[2]), html)


def _unbroken(html: str) -> str:
    """Options such as --class within a line of text, and intervals such as [0.1, 0.2], each on one line."""
    html = INTERVAL.sub("[\\1,\u00a0\\2]", html)
    return CODE_OF_A_LINE.sub(lambda code: OPTION.sub(r'<span class="option">\g<0></span>', code[0]), html)


def _kept_together(math: str, after: str) -> str:
    """A formula and the punctuation after it, which must not begin a line."""
    return f'<span class="formula">{math}{after}</span>' if after and math.startswith("<math") else math + after


def _display(math: str) -> str:
    large = math.replace("<mtable>", '<mtable displaystyle="true">')
    return f'<span class="display">{large}</span>'


def on_post_build(config: MkDocsConfig) -> None:
    """The book as PDF and the slides beside the pages; no page of errors, whose styles would need a fixed address."""
    folder = Path(config.site_dir)
    (folder / "404.html").unlink(missing_ok=True)
    pdf.write(folder / "book.pdf")
    (folder / "lesson.html").write_text(slides(), encoding="utf-8")
