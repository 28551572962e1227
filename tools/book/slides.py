"""The slides as one HTML file that needs no network: `python tools/book/slides.py [-o FILE]`."""

from __future__ import annotations

import sys
from pathlib import Path

import pypandoc

sys.path.insert(0, str(Path(__file__).parent))
from chapters import BOOK, ROOT, spaced

HEAD = """<style>
body { margin: 0; max-width: none; padding: 0; font-family: system-ui, sans-serif; color: #1f2937; background: #fff; }
section { display: none; height: 100vh; box-sizing: border-box; padding: 5vh 7vw; overflow: hidden; }
section { font-size: min(4.2vh, 2.8vw); }
section.now { display: flex; flex-direction: column; justify-content: center; gap: 1vh; }
section h1 { font-size: 1.6em; color: #5b2a86; margin: 0 0 2vh; }
section img { width: 100%; max-height: 52vh; display: block; margin: 0 auto; object-fit: contain; }
section p { margin: 0.6vh 0; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math; }
#page { position: fixed; right: 2vw; bottom: 2vh; color: #6b7280; font-size: 14px; }
@media print { section { display: flex; flex-direction: column; page-break-after: always; } #page { display: none; } }
</style>"""
SCRIPT = """<div id="page"></div><script>
"use strict";
const pages = [...document.querySelectorAll("section")];
let now = Math.max(0, Number(location.hash.slice(1)) - 1 || 0);
function show(to) {
  now = Math.min(pages.length - 1, Math.max(0, to));
  pages.forEach((page, i) => page.classList.toggle("now", i === now));
  document.querySelector("#page").textContent = `${now + 1} / ${pages.length}`;
  history.replaceState(null, "", `#${now + 1}`);
}
addEventListener("keydown", (event) => {
  if (["ArrowRight", "PageDown", " ", "Enter"].includes(event.key)) show(now + 1);
  if (["ArrowLeft", "PageUp"].includes(event.key)) show(now - 1);
});
addEventListener("click", (event) => show(now + (event.clientX > innerWidth / 3 ? 1 : -1)));
show(now);
</script>"""


def slides() -> str:
    """The page: one section a slide, pictures inside the file."""
    head = BOOK.parents[1] / "build" / "slides-head.html"
    head.parent.mkdir(parents=True, exist_ok=True)
    after = head.with_name("slides-after.html")
    head.write_text(HEAD, encoding="utf-8")
    after.write_text(SCRIPT, encoding="utf-8")
    options = ["--standalone", "--mathml", "--section-divs", "--embed-resources", f"--resource-path={BOOK}"]
    options += [f"--include-in-header={head}", f"--include-after-body={after}", "--metadata=document-css:false"]
    made: str = pypandoc.convert_file(str(BOOK / "slides.txt"), "html5", "markdown-implicit_figures", options)
    made = made.replace("<mtable>", '<mtable displaystyle="true">')
    return spaced(made).replace('<header id="title-block-header">', "<section>").replace("</header>", "</section>")


def main() -> None:
    """Write the file."""
    out = Path(sys.argv[sys.argv.index("-o") + 1] if "-o" in sys.argv else ROOT / "build" / "slides.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(slides(), encoding="utf-8")
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
