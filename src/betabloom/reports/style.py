"""The page that a report is written into, and how it looks: no scripts, no fonts, nothing from elsewhere."""

__all__ = ["PAGE", "STYLE"]

PAGE = """<!DOCTYPE html>
<html lang=en>
<head>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name=color-scheme content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header><p class=kind>Training report</p><h1>{title}</h1></header>
{body}
<footer>{made}</footer>
</main>
</body>
</html>
"""

STYLE = """
:root {
  --paper: #fdfcfa; --ink: #24211d; --faint: #6f6960; --rule: #e4dfd6; --card: #f5f1ea;
  --train: #b9ada0; --held: #b3396b; --good: #3d7a4b; --sick: #a8480f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171513; --ink: #ece7df; --faint: #a09789; --rule: #35312c; --card: #211e1b;
    --train: #776d62; --held: #e880a8; --good: #8cc79a; --sick: #eba36d;
  }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 Charter, "Bitstream Charter", "Iowan Old Style", "Palatino Linotype", Georgia, serif;
}
main { max-width: 46rem; margin: 0 auto; padding: 3.5rem 1.25rem 5rem }
h1 { font-size: 2.3rem; line-height: 1.15; font-weight: 600; margin: 0; letter-spacing: -.01em;
  overflow-wrap: anywhere }
h2 { font-size: 1.3rem; font-weight: 600; margin: 3.2rem 0 .4rem }
h3 { font-size: 1rem; font-weight: 600; margin: 1.6rem 0 .3rem }
p { margin: .3rem 0 1rem; color: var(--faint) }
svg text { font-variant-numeric: tabular-nums }
.kind, dt, .key, th, footer, code, .settings, .facts, figcaption {
  font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
.kind { font-size: .78rem; letter-spacing: .08em; text-transform: uppercase; margin: 0 0 .5rem }
.lead { font-size: 1.15rem; margin: .8rem 0 1.6rem; color: var(--ink); overflow-wrap: anywhere }
.figures { display: grid; grid-template-columns: repeat(6, auto); gap: 1rem; margin: 0 }
.figures div { border-top: 2px solid var(--ink); padding-top: .5rem }
dt { font-size: .78rem; color: var(--faint) }
dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums lining-nums; white-space: nowrap }
.healthy, .note { margin: 2rem 0 0; padding: .7rem 1rem; background: var(--card); border-left: 3px solid var(--good);
  color: var(--ink) }
.note { border-color: var(--faint) }
.advice { list-style: none; margin: .6rem 0 0; padding: 0 }
.advice li { padding: .9rem 1rem; margin: 0 0 .8rem; background: var(--card); border-left: 3px solid var(--sick) }
.advice strong { display: block; color: var(--sick); font-weight: 600 }
.advice strong::first-letter { text-transform: uppercase }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .82em }
.advice code { display: block; margin-top: .5rem; overflow-x: auto; white-space: nowrap }
figure { margin: 0 }
img { display: block; max-width: 100%; height: auto }
figure > img { width: 100% }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: 1.8rem 1.6rem }
figcaption { font-size: .84rem; margin: 0 0 .3rem; color: var(--ink) }
svg { display: block; width: 100%; height: auto; overflow: hidden }
.key { font-size: .84rem }
.swatch { display: inline-block; width: 1.4em; height: .22em; margin: 0 .45em .28em 0; border-radius: 2px }
.swatch.validation { margin-left: 1.1em; background: var(--held) } .swatch.train { background: var(--train) }
table { border-collapse: collapse; width: 100% }
th { font-weight: 500; text-align: left; color: var(--faint); font-size: .82rem; font-variant-numeric: tabular-nums }
.strip th { width: 4.4rem; padding-right: .8rem; text-align: right; white-space: nowrap }
.strip th small { display: block; font-size: .72rem; font-weight: 400 }
.strip td { padding: 1px 0 } .strip img { width: 100% }
.facts th, .facts td, .settings th, .settings td {
  padding: .34rem .8rem .34rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; font-size: .86rem;
  overflow-wrap: anywhere;
}
.facts td, .settings td:nth-child(2) { font-variant-numeric: tabular-nums }
.settings th { width: 9rem } .settings td:nth-child(2) { width: 11rem }
.settings td:nth-child(3) { color: var(--faint) }
.changed th, .changed td:nth-child(2) { color: var(--held); font-weight: 600 }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--rule); font-size: .8rem; color: var(--faint);
  overflow-wrap: anywhere }
@media (max-width: 34rem) {
  main { padding-top: 2rem } h1 { font-size: 1.8rem } .figures { grid-template-columns: repeat(3, 1fr) }
  .settings td:nth-child(3) { display: none } .strip th { width: 3.4rem }
}
"""
