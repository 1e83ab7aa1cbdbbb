"""How the page of one recording looks, beyond what the inspection's page has."""

PAGE_STYLE = """
:root { --primary: #0072b2; --secondary: #d55e00; --noise: #7a3b16; }
@media (prefers-color-scheme: dark) { :root { --primary: #56a8e8; --secondary: #ff8f45; --noise: #d3a07e; } }
main { max-width: 1240px; }
svg { display: block; }
.said { background: var(--tint); font-size: 1.15rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem 1.1rem; }
.hint { margin: 0 0 .8rem; color: var(--soft); font-size: .9rem; max-width: 100ch; }
.notes { margin: 1rem 0 0; padding: .8rem 1rem .8rem 2.1rem; background: var(--look-back); border-radius: .75rem;
  font-size: .92rem; }
audio { width: 100%; height: 2.4rem; }
.tokens { display: flex; flex-wrap: wrap; gap: .2rem; margin: .9rem 0; }
.tokens button { font: inherit; font-size: .95rem; color: var(--ink); background: var(--back); cursor: pointer;
  border: 1px solid var(--line); border-radius: .35rem; padding: .12rem .4rem; min-width: 1.7rem; }
.tokens button[aria-pressed=true] { outline: 2px solid var(--ink); }
.shown, .tokens .shown { background: var(--tint); border-color: var(--bar); }
#said { min-height: 1.5em; margin: 0 0 .6rem; font-variant-numeric: tabular-nums; }
#view { position: relative; cursor: crosshair; }
#view img { display: block; width: 100%; height: 9rem; image-rendering: pixelated; border-radius: .3rem .3rem 0 0; }
.lay { width: 100%; height: 8rem; background: var(--back); overflow: hidden; }
#marks { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
#marks line { vector-effect: non-scaling-stroke; stroke-width: 1.5; }
#peak { stroke: #19d3a2; stroke-dasharray: 4 3; }
#playing { stroke: #ff4d6d; }
.lay polyline { fill: none; stroke-width: 1.8; vector-effect: non-scaling-stroke; }
#line-primary { stroke: var(--primary); }
#line-secondary { stroke: var(--secondary); }
.noise { fill: var(--noise); opacity: .28; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .5rem 0 0; padding: 0; list-style: none;
  font-size: .85rem; color: var(--soft); }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; margin-right: .4rem;
  vertical-align: -.08em; }
.strips { display: grid; grid-template-columns: 1fr; gap: .2rem; margin-top: .8rem; }
.strips canvas { width: 100%; image-rendering: pixelated; background: var(--back); display: block; }
.strips p { margin: .4rem 0 0; font-size: .85rem; color: var(--soft); }
.x-title { text-align: center; color: var(--soft); font-size: .78rem; margin: 0; }
.axis span { white-space: nowrap; }
#gates { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .15rem 1rem;
  margin: .3rem 0 0; padding: 0; list-style: none; font-size: .82rem; }
#gates li { display: grid; grid-template-columns: 4rem 1fr 2.4rem; gap: .4rem; align-items: center; }
#gates span { background: color-mix(in srgb, var(--secondary) 55%, var(--card)); height: .6rem; }
#gates i { display: block; height: 100%; background: var(--primary); }
#gates b { font-weight: 400; font-variant-numeric: tabular-nums; }
.picture img { width: 100%; display: block; border-radius: .4rem; background: #fff; }
.picture + .picture { margin-top: .75rem; }
.scroll { max-height: 36rem; }
tbody tr { background: none; cursor: pointer; }
tbody tr.shown { background: var(--tint); }
pre { margin: .5rem 0 0; padding: .7rem .9rem; background: var(--tint); border-radius: .6rem; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
"""
