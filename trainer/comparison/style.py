"""How the comparison's page looks beyond what the inspection's page has: colours of runs, charts, the matrix."""

# Okabe and Ito's colours, which eyes with colour blindness tell apart; a little darker on white, lighter on black.
RUN_COLOURS = (
    ("#0072b2", "#56a8e8"),
    ("#d55e00", "#ff8f45"),
    ("#00866a", "#2fc7a0"),
    ("#b8568f", "#e39ac6"),
    ("#a67c00", "#f0c748"),
    ("#3a9bd6", "#a9dcff"),
    ("#6b4fb3", "#b3a0f0"),
    ("#7a3b16", "#d3a07e"),
)

KIND_COLOURS = {
    "substitutions": ("#35618f", "#8fb8e3"),
    "deletions": ("#d9a441", "#e8bf6d"),
    "insertions": ("#a3485f", "#e08fa3"),
}


def palette(shade: int) -> str:
    runs = "".join(f"--run{number}: {colours[shade]}; " for number, colours in enumerate(RUN_COLOURS))
    kinds = "".join(f"--{kind}: {colours[shade]}; " for kind, colours in KIND_COLOURS.items())
    return f":root {{ {runs}{kinds}--inside: {('#fff', '#10151b')[shade]}; }}"


CLASSES = "\n".join(f".run{number} {{ --c: var(--run{number}); }}" for number in range(len(RUN_COLOURS)))
KIND_CLASSES = "\n".join(f".{kind} {{ --k: var(--{kind}); }}" for kind in KIND_COLOURS)

COMPARISON_STYLE = (
    f"""
{palette(0)}
@media (prefers-color-scheme: dark) {{ {palette(1)} }}
{CLASSES}
{KIND_CLASSES}
.plain {{ --c: var(--soft); }}
"""
    + """
svg { display: block; overflow: visible; }
h1 { max-width: 24em; }
.verdict { background: var(--tint); font-size: 1.05rem; }
main { max-width: 1140px; }
.lead { margin: 1rem 0 0; padding-left: 1.2rem; font-size: .95rem; }
.notes { margin: 0; padding: .8rem 1rem .8rem 2.1rem; background: var(--look-back); border-radius: .75rem;
  font-size: .92rem; }
.missing { background: var(--fails-back); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem 1.1rem; }
.card + .card, .card + .plots, .plots + .card, .legend + .plots { margin-top: .75rem; }
details > summary { margin: 0; }
.hint { margin: 0 0 .8rem; color: var(--soft); font-size: .9rem; max-width: 100ch; }
.rows { display: grid; grid-template-columns: fit-content(14rem) minmax(0, 1fr) max-content; column-gap: 1rem;
  align-items: center; grid-auto-flow: dense; }
.rows > .name { grid-column: 1; }
.rows > .strip, .rows > .axis { grid-column: 2; }
.rows > .value { grid-column: 3; }
.rows.pairwise { grid-template-columns: fit-content(9rem) minmax(0, 1fr); row-gap: .1rem; }
.rows .name { display: flex; align-items: center; flex-wrap: wrap; column-gap: .45rem; overflow-wrap: anywhere;
  min-width: 0; font-size: .92rem; line-height: 1.2; }
.rows .name > span { max-width: calc(100% - 14px - .45rem); }
.pairwise .name { display: block; text-align: right; font-size: .82rem; }
.pairwise .name small { display: block; font-size: .72rem; }
.value { font-variant-numeric: tabular-nums; white-space: nowrap; text-align: right; }
.state { font-style: normal; font-size: .72rem; padding: .02rem .45rem; border-radius: 1rem; color: var(--look);
  background: var(--look-back); }
.chip { display: inline-block; flex: none; vertical-align: -.12em; }
.dot path { fill: var(--c); stroke: var(--card); stroke-width: 1.2; paint-order: stroke; }
.dot.plain path { stroke: var(--c); stroke-width: 2.6; fill: none; }
.pairwise .dot path { transform: scale(.8); }
.span { stroke: var(--c); stroke-width: 2.4; }
.thin { stroke: var(--c); stroke-width: 1.4; opacity: .55; }
.grid { stroke: var(--line); stroke-width: 1; }
.reference { stroke: var(--soft); stroke-width: 1.3; stroke-dasharray: 4 4; }
.curve { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.inside { fill: var(--inside); font-size: 12px; font-weight: 600; text-anchor: middle; }
rect.substitutions, rect.deletions, rect.insertions { fill: var(--k); stroke: var(--card); stroke-width: 1; }
.inside.deletions { fill: #10151b; }
.swatch { display: inline-block; width: .85rem; height: .85rem; border-radius: .2rem; background: var(--k); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 0 0 .7rem; padding: 0; list-style: none;
  font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: .4rem; }
.chart { display: grid; grid-template-columns: max-content minmax(0, 1fr); }
.ys { position: relative; width: 3rem; font-size: .72rem; color: var(--soft); }
.ys span { position: absolute; right: .5rem; transform: translateY(-50%); white-space: nowrap; }
.area { border-bottom: 1px solid var(--soft); }
.axis span { white-space: nowrap; }
.plots.breakdowns { display: block; columns: 2 22rem; column-gap: .75rem; }
.breakdown { break-inside: avoid; margin-bottom: .75rem; }
.x-title { text-align: center; color: var(--soft); font-size: .78rem; }
.chart + .note { margin-top: .6rem; }
figure { min-width: 0; }
.scroll { max-height: none; overflow-x: auto; }
.scroll td { white-space: nowrap; }
.cell { display: inline-block; width: max-content; max-width: min(17rem, 45vw); white-space: normal;
  vertical-align: top; }
.scroll th { vertical-align: bottom; line-height: 1.25; }
.scroll th.number { white-space: normal; min-width: 4.4rem; }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; z-index: 2; background: var(--card); }
.scroll td .chip { margin-right: .4rem; }
td.wrap { white-space: normal; min-width: 9rem; }
.matrix { table-layout: fixed; }
.matrix td, .matrix th { text-align: center; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.matrix th:first-child { width: 11rem; }
.matrix tbody th { vertical-align: middle; }
.matrix tbody th { text-align: left; color: var(--ink); position: sticky; left: 0; z-index: 2; }
.matrix td { border: 3px solid var(--card); border-radius: .5rem; padding: .45rem .6rem; line-height: 1.2; }
.matrix td b { display: block; font-weight: 600; }
.matrix small { font-size: .74rem; white-space: nowrap; }
.matrix .lower { background: color-mix(in srgb, var(--run0) 24%, var(--card)); }
.matrix .higher { background: color-mix(in srgb, var(--run1) 22%, var(--card)); }
.matrix .tie { background: color-mix(in srgb, var(--soft) 9%, var(--card)); color: var(--soft); }
.matrix .tie b { font-weight: 400; }
.examples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .75rem; }
.example { border-left: 1px solid var(--line); }
.example .facts { display: flex; flex-wrap: wrap; gap: .2rem .8rem; margin: 0; font-size: .8rem; color: var(--soft); }
.example .said { font-size: 1.05rem; font-weight: 600; margin: .45rem 0 .5rem; overflow-wrap: anywhere; }
.example dl { border: 0; padding: 0; background: none; display: grid; grid-template-columns: fit-content(11rem) 1fr;
  gap: .3rem .8rem; font-size: .92rem; }
.example dt { display: flex; gap: .4rem; align-items: center; flex-wrap: wrap; overflow-wrap: anywhere;
  align-self: start; font-size: .85rem; }
.count-of { float: right; margin-left: .6rem; color: var(--soft); font-size: .78rem; }
.example del { color: var(--fails); opacity: .85; margin-right: .2em; }
.example ins { font-weight: 700; text-decoration: underline 2px; text-decoration-color: var(--look);
  text-underline-offset: .18em; }
.right { color: var(--soft); }
.minor { margin: 1.4rem 0 .7rem; }
pre { margin: .5rem 0 0; padding: .7rem .9rem; background: var(--tint); border-radius: .6rem; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  .rows:not(.pairwise) { grid-template-columns: minmax(0, 1fr) max-content; column-gap: .6rem; }
  .rows:not(.pairwise) > .strip, .rows:not(.pairwise) > .axis { grid-column: 1 / -1; }
  .rows:not(.pairwise) > .value { grid-column: 2; }
  .card { padding: .8rem; }
  .example dl { grid-template-columns: 1fr; gap: .05rem; }
  .example dd { margin-bottom: .4rem; }
}
"""
)
