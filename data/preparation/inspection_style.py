"""How the inspection's page looks, light and dark, wide and narrow; content has no place here."""

STYLE = """
:root { --back: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #5d6979; --line: #dfe3e9; --bar: #3b6fd4;
  --tint: #3b6fd41f; --fails: #c02b37; --fails-back: #fdecee; --look: #9a6400; --look-back: #fdf3dc; --fine: #18794e;
  --fine-back: #e4f5ec; }
@media (prefers-color-scheme: dark) {
  :root { --back: #12161c; --card: #1b2129; --ink: #e6eaf0; --soft: #97a3b4; --line: #2d3641; --bar: #7aa2f7;
    --tint: #7aa2f72b; --fails: #ff8086; --fails-back: #3a1c21; --look: #e9b44c; --look-back: #332a17; --fine: #6fd3a0;
    --fine-back: #16302a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto,
  "Noto Sans", "Helvetica Neue", sans-serif; overflow-wrap: anywhere; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: .1rem 0 .8rem; font-size: clamp(1.3rem, 4.5vw, 2rem); line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.6rem 0 .9rem; font-size: 1.2rem; }
h3 { margin: 0; font-size: 1rem; }
p { margin: .35rem 0 0; }
.kind { margin: 0; color: var(--soft); font-size: .85rem; }
.verdict { display: inline-block; margin: 0; padding: .45rem .9rem; border-radius: .6rem; font-weight: 600; }
.verdict.fine { color: var(--fine); background: var(--fine-back); }
.verdict.fails { color: var(--fails); background: var(--fails-back); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin-top: 1.5rem; }
.tiles div, article, figure, dl, .count { background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; }
.tiles div { padding: .8rem 1rem; }
.tiles b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles span, .amount, .note, small { color: var(--soft); font-size: .85rem; }
.findings { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .6rem;
  align-items: start; }
article.fails { grid-column: 1 / -1; }
article { padding: .8rem 1rem .85rem; min-width: 0; border-left: 4px solid var(--look); }
article.fails { border-left-color: var(--fails); }
article p { max-width: 75ch; }
.badge { display: inline-block; margin-right: .5rem; padding: .05rem .55rem; border-radius: 1rem; font-size: .75rem;
  color: var(--look); background: var(--look-back); vertical-align: .08em; }
.fails .badge { color: var(--fails); background: var(--fails-back); }
.amount { white-space: nowrap; font-weight: 400; margin-left: .35rem; }
summary { margin-top: .4rem; color: var(--soft); font-size: .85rem; cursor: pointer; width: max-content;
  max-width: 100%; }
ol { margin: .4rem 0 0; padding-left: 1.6rem; font-size: .9rem; }
li { padding: .12rem 0; overflow-wrap: anywhere; }
li::marker { color: var(--soft); }
code { font: .85em ui-monospace, "DejaVu Sans Mono", monospace; background: var(--tint); border-radius: .3rem;
  padding: .08rem .35rem; }
code, li span, li small, li q, td span { unicode-bidi: isolate; }
q { quotes: none; }
q::before, q::after { content: none; }
li q { color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: .75rem; }
figure { margin: 0; padding: .9rem 1rem 1rem; }
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .9rem; }
.plot { position: relative; height: 9.5rem; border-bottom: 1px solid var(--soft); border-top: 1px dashed var(--line); }
.plot svg { width: 100%; height: 100%; display: block; }
.plot rect { fill: var(--bar); }
.plot rect:hover { fill: var(--ink); }
.most { position: absolute; right: 0; top: -.75rem; font-size: .72rem; color: var(--soft); background: var(--card);
  padding-left: .4rem; }
.mark { position: absolute; top: 0; bottom: 0; border-left: 1.5px dashed var(--look); font-style: normal; }
.mark b { position: absolute; top: .45rem; left: .3rem; white-space: nowrap; font-weight: 600;
  font-size: .72rem; line-height: 1.2; background: var(--card); color: var(--look); }
.mark.left b { left: auto; right: .3rem; }
.axis { position: relative; height: 1.1rem; margin-top: .15rem; font-size: .72rem; color: var(--soft); }
.axis span { position: absolute; transform: translateX(-50%); }
dl { margin: 0; padding: .35rem 1rem; }
dl div { display: grid; grid-template-columns: minmax(8rem, 19rem) 1fr; gap: 1rem; padding: .4rem 0;
  border-bottom: 1px solid var(--line); }
dl div:last-child { border: 0; }
dt { color: var(--soft); }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tables { columns: 3 19rem; column-gap: .75rem; }
.count { padding: .8rem 1rem; margin-bottom: .75rem; break-inside: avoid; }
.wide { column-span: all; margin-top: .75rem; }
.scroll { max-height: 25rem; overflow: auto; margin-top: .4rem; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th { position: sticky; top: 0; z-index: 1; background: var(--card); text-align: left; font-weight: 500;
  color: var(--soft); }
th, td { padding: .28rem .5rem; }
th { overflow-wrap: break-word; }
td { border-top: 1px solid var(--line); overflow-wrap: anywhere; }
tbody tr { background: linear-gradient(90deg, var(--tint) var(--bar-end), transparent var(--bar-end)); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
@media (max-width: 560px) {
  main { padding: 1.4rem .8rem 3rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  dl div { grid-template-columns: 1fr; gap: 0; }
  .amount { display: block; margin-left: 0; }
}
@media print { body { background: none; } .scroll { max-height: none; } }
"""
