"""The look and the behaviour of a report: a style sheet and a few lines of script, both inlined."""

STYLE = """
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1d2530; background: #fff; }
body { margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; margin: .4rem 0; }
.note, figcaption, footer { color: #566070; font-size: .85rem; }
footer { margin: 2rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid #e3e7ec; vertical-align: top; }
th { font-weight: 600; }
td:nth-child(2) { min-width: 6.5rem; }
.number { text-align: right; }
td.number { white-space: nowrap; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
.panels { display: grid; gap: .75rem 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.panels > div { max-width: 640px; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; list-style: none; margin: .3rem 0; padding: 0; }
.legend li { display: flex; align-items: center; gap: .4rem; font-size: .9rem; }
.chart { width: 100%; height: auto; display: block; touch-action: pan-y; }
.chart text { fill: #3a4452; font-size: 12px; }
.chart .title { font-size: 14px; font-weight: 600; fill: #1d2530; }
.chart .end { text-anchor: end; }
.chart .middle { text-anchor: middle; }
.grid { stroke: #e3e7ec; }
.axis { stroke: #8a94a3; }
.band { opacity: .18; }
.line { fill: none; stroke-width: 2; }
.vertical { stroke-width: 1; stroke-dasharray: 5 4; }
.point.quiet { opacity: 0; }
.point.near { opacity: 1; stroke: #1d2530; stroke-width: 2; }
#tip { position: fixed; z-index: 1; pointer-events: none; max-width: 20rem; padding: .3rem .6rem; border-radius: 4px;
       background: #1d2530; color: #fff; font-size: .85rem; }
summary { cursor: pointer; }
@media screen and (max-width: 640px) { /* a row is a block of lines: the column's name, and the cell */
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tr { padding: .4rem 0; border-bottom: 1px solid #b9c2cd; }
  td, td.number { display: flex; justify-content: space-between; gap: 1rem; padding: .1rem 0; border: 0;
                  text-align: right; white-space: normal; }
  td::before { content: attr(data-name); color: #566070; text-align: left; flex: 0 1 45%; }
  td > span { overflow-wrap: anywhere; min-width: 0; }
}
@media print {
  :root { font-size: 11px; }
  main { max-width: none; padding: 0; }
  #tip { display: none; }
  .wide { overflow: visible; }
  td, th { padding-right: .5rem; }
  figure > .panels > div, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .panels { grid-template-columns: 1fr 1fr; }
  .band, .chart, .legend svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

# The nearest point of the chart under the pointer or finger says its value.
SCRIPT = """
const tip = document.getElementById("tip");
const REACH = 40;
for (const chart of document.querySelectorAll("svg.chart")) {
  const points = [...chart.querySelectorAll(".point")].map((element) => {
    const text = element.querySelector("title").textContent;
    element.querySelector("title").remove();
    const [x, y] = element.getAttribute("transform").match(/[\\d.-]+/g).map(Number);
    return { element, text, x, y };
  });
  const hide = () => { tip.hidden = true; points.forEach((point) => point.element.classList.remove("near")); };
  const show = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    let nearest = null, least = REACH;
    for (const point of points) {
      const distance = Math.hypot(point.x - at.x, point.y - at.y);
      if (distance < least) { nearest = point; least = distance; }
    }
    hide();
    if (!nearest) return;
    nearest.element.classList.add("near");
    tip.textContent = nearest.text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - width - 4)) + "px";
    tip.style.top = Math.max(4, event.clientY - height - 12) + "px";
  };
  chart.addEventListener("pointermove", show);
  chart.addEventListener("pointerdown", show);
  chart.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
}
"""
