"""The look of the report page: one style sheet for light and dark, without any request.

It does not know what the page says.
"""

from __future__ import annotations

STYLE = """
:root {
  --paper: #fbf9f5; --card: #ffffff; --ink: #211d18; --soft: #6f675c; --rule: #e6dfd3;
  --model: #c2540a; --truth: #1f66ad; --asked: #a59b8c; --good: #2c7a3f; --bad: #b3261e;
  --tint: #f5ece0; --shade: 0 1px 2px rgba(60, 40, 10, .06), 0 8px 28px rgba(60, 40, 10, .06);
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #14120f; --card: #1d1a16; --ink: #ece6db; --soft: #a0978a; --rule: #322d26;
  --model: #f28b3c; --truth: #66aaf0; --asked: #857c70; --good: #6cc381; --bad: #ff8a7d;
  --tint: #2a2219; --shade: 0 1px 2px rgba(0, 0, 0, .4), 0 8px 28px rgba(0, 0, 0, .3);
} }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 72px; }
h1, h2 { font-family: "Iowan Old Style", Palatino, "Book Antiqua", Georgia, "DejaVu Serif", serif;
  font-weight: 600; letter-spacing: -.01em; line-height: 1.2; }
h1 { font-size: clamp(28px, 4.4vw, 44px); margin: 10px 0 12px; max-width: 19em;
  text-wrap: balance; }
h2 { font-size: 23px; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 0 0 8px; font-weight: 600; }
p { margin: 0 0 12px; } .soft { color: var(--soft); }
section { margin-top: 52px; } section > p.soft { max-width: 68ch; margin-bottom: 18px; }
.brand { display: flex; align-items: center; gap: 10px; font-weight: 650; letter-spacing: .02em; }
.brand svg { width: 30px; height: 30px; }
.pill { display: inline-block; border-radius: 99px; padding: 2px 12px; font-size: 13px;
  font-weight: 600; border: 1px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 14px;
  box-shadow: var(--shade); padding: 20px 22px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 14px;
  margin-top: 26px; }
.tile { padding: 16px 18px; }
.tile b { display: block; font: 600 30px/1.15 "Iowan Old Style", Palatino, Georgia,
  "DejaVu Serif", serif; }
.tile b small { font-size: 15px; font-weight: 500; color: var(--soft); margin-left: 3px; }
.tile span { display: block; font-size: 13px; color: var(--soft); margin-top: 4px;
  line-height: 1.4; }
.stage-list { list-style: none; margin: 0; padding: 6px 0; }
.stage-list li { display: grid; grid-template-columns: 168px 1fr 86px; gap: 4px 16px;
  align-items: center; padding: 9px 22px; border-top: 1px solid var(--rule); }
.stage-list li:first-child { border-top: 0; }
.stage-list .name { font-weight: 600; }
.stage-list .bar { height: 9px; border-radius: 9px; background: var(--tint); overflow: hidden; }
.stage-list .bar i { display: block; height: 100%; border-radius: 9px; min-width: 3px;
  background: var(--model); }
.stage-list .reused .bar i { background: var(--asked); }
.stage-list .time { text-align: right; }
.stage-list .why { grid-column: 2 / 4; color: var(--soft); font-size: 13px; }
.badge { font-size: 11.5px; font-weight: 600; border-radius: 5px; padding: 1px 7px;
  background: var(--tint); color: var(--soft); margin-right: 7px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 18px; }
svg { display: block; width: 100%; height: auto; }
svg .line { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
svg .model, svg .span { stroke: var(--model); } svg .truth { stroke: var(--truth); }
svg .asked { stroke: var(--asked); } svg .line.asked { stroke-width: 5; opacity: .55; }
svg .line.truth { stroke-width: 4; opacity: .75; }
svg .dot { stroke: none; } svg .dot.model, svg .mean { fill: var(--model); }
svg .dot.truth { fill: var(--truth); } svg .dot.asked { fill: var(--asked); }
svg .grid, svg .rail { stroke: var(--rule); stroke-width: 1; }
svg .zero { stroke: var(--asked); stroke-width: 1; }
svg .span { stroke-width: 5; opacity: .4; stroke-linecap: round; }
svg .limit { stroke: var(--ink); stroke-width: 2; }
svg .axis { fill: var(--soft); font-size: 11px; }
.interval { width: 180px; }
.legend { display: flex; gap: 18px; font-size: 12.5px; color: var(--soft); margin-top: 6px;
  flex-wrap: wrap; }
.legend span { display: flex; align-items: center; gap: 6px; }
.key { width: 16px; height: 4px; border-radius: 3px; } .key.model { background: var(--model); }
.key.truth { background: var(--truth); } .key.asked { background: var(--asked); }
video, .strip img { width: 100%; border-radius: 10px; display: block; image-rendering: pixelated; }
video { background: #000; }
.strip + .strip { margin-top: 22px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 12.5px; }
th, td { padding: 8px 10px 8px 0; border-bottom: 1px solid var(--rule); vertical-align: middle; }
tr:last-child td { border-bottom: 0; } td.number, th.number { text-align: right; }
.checks { list-style: none; margin: 0; padding: 8px 22px; }
.checks li { display: flex; gap: 12px; padding: 8px 0; border-top: 1px solid var(--rule); }
.checks li:first-child { border-top: 0; }
.mark { flex: none; width: 1.3em; font-weight: 700; text-align: center; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 12.8px; }
pre { margin: 0; padding: 11px 14px; border-radius: 9px; background: var(--tint);
  overflow-x: auto; }
.commands { display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px; }
.commands p { margin: 0 0 5px; }
.lineage { display: grid; grid-template-columns: max-content 1fr; gap: 7px 20px; margin: 0; }
.lineage dt { color: var(--soft); } .lineage dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 56px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) { .stage-list li { grid-template-columns: 1fr 80px; }
  .stage-list .bar { grid-column: 1 / 3; grid-row: 2; } .stage-list .why { grid-column: 1 / 3; } }
@media print { .card, .tile { box-shadow: none; break-inside: avoid; } }
"""
