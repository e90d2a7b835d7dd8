"""How the HTML report looks, on the screen and printed."""

CSS = """\
:root { --ink: #1a1a1a; --quiet: #5b6470; --line: #d9dee4; --accent: #bd1f01; --pale: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.5rem 4rem; color: var(--ink);
  background: #fff;
  font: 16px/1.55 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
header { border-bottom: 3px solid var(--accent); margin-bottom: 1rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
header p { color: var(--quiet); margin: .3rem 0 .8rem; }
nav ol { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; list-style: none; margin: 0;
  padding: 0; }
nav a { color: var(--quiet); text-decoration: none; font-size: .92rem; }
nav a:hover { color: var(--accent); text-decoration: underline; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .8rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 46rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.numbers div { flex: 1 1 11rem; background: var(--pale); border-left: 4px solid var(--accent);
  padding: .8rem 1rem; }
.numbers b { display: block; font-size: 1.55rem; line-height: 1.25; white-space: nowrap; }
.numbers span { color: var(--quiet); font-size: .9rem; }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
.row > div { flex: 1 1 24rem; min-width: 0; }
figure { margin: 1rem auto; text-align: center; }
figure img { max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: .88rem; text-align: left; margin-top: .3rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); font-size: .88rem; padding-bottom: .4rem; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; }
th.number, td.number { text-align: right; }
tr.strong td { font-weight: 600; background: var(--pale); }
details { border: 1px solid var(--line); border-radius: 4px; padding: .5rem 1rem; margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { background: var(--pale); padding: .8rem; overflow-x: auto; font-size: .83rem;
  line-height: 1.4; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  nav { display: none; }
  h2 { break-after: avoid; }
  figure, tr, .numbers { break-inside: avoid; }
  figure img { max-height: 22cm; }
  .wide, pre { overflow: visible; white-space: pre-wrap; }
}
"""
