"""The look of a report: light, dark and on paper; wide and narrow."""

CSS = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --paper: #ffffff;
  --card: #f5f7f9; --link: #00558c; --mark: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ec; --soft: #a5afb9; --line: #3a424b; --paper: #14181c;
    --card: #1e242a; --link: #7cc4f0; --mark: #56b4e9;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere;
}
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 {
  font-size: 1.3rem; margin: 2.6rem 0 .8rem; padding-top: .6rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--link); }
.soft, figcaption, caption, dt { color: var(--soft); }
nav ul {
  display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: 1rem 0;
}
nav li { list-style: none; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr));
  gap: .8rem; margin: 1rem 0;
}
.tile {
  background: var(--card); border-left: 4px solid var(--mark); border-radius: 4px;
  padding: .6rem .9rem;
}
.tile b { display: block; font-size: 1.6rem; line-height: 1.3; }
.tile span { display: block; font-size: .85rem; color: var(--soft); }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 1.6rem 1.4rem; align-items: start;
}
figure { margin: 0; break-inside: avoid; }
figure img {
  display: block; width: 100%; height: auto; background: #fff; padding: .6rem;
  border: 1px solid var(--line); border-radius: 6px;
}
figcaption { font-size: .9rem; margin-top: .45rem; }
figcaption b { color: var(--ink); }
.wide { overflow-x: auto; margin: 1rem 0; }
table {
  border-collapse: collapse; font-size: .92rem;
  font-variant-numeric: tabular-nums;
}
caption { text-align: left; padding-bottom: .4rem; }
th, td {
  text-align: left; vertical-align: top; padding: .35rem 1.1rem .35rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: normal;
}
thead th { border-bottom-width: 2px; }
td small { display: block; color: var(--soft); white-space: nowrap; }
dl { margin: .8rem 0; }
dl > div {
  display: grid; grid-template-columns: 11rem 1fr; gap: 1rem; padding: .2rem 0;
}
dd { margin: 0; }
code {
  font: .85em/1.4 ui-monospace, "DejaVu Sans Mono", monospace;
}
.digest { word-break: break-all; }
dl.row { display: flex; flex-wrap: wrap; gap: .2rem 1.8rem; }
dl.row > div { display: flex; gap: .5rem; }
article { margin: 1.6rem 0 2.2rem; }
blockquote {
  margin: .3rem 0 .6rem; padding-left: .9rem; border-left: 4px solid var(--mark);
  font-size: 1.05rem;
}
@media (max-width: 34rem) {
  dl > div { grid-template-columns: 1fr; gap: 0; padding: .35rem 0; }
  h1 { font-size: 1.45rem; }
}
@media print {
  :root {
    --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --card: #f3f3f3;
    --link: #000;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2, h3, h2 + p { break-after: avoid; }
  figure img { padding: 0; border: 0; }
  article { margin: .8rem 0; }
  article, tr { break-inside: avoid; }
  .pictures { grid-template-columns: 1fr 1fr; }
  .wide { overflow: visible; }
}
"""
