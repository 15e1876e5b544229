// Plotly's plots: their files, their width, and the timeline of a player.
import { make } from "./dom.js";
import { ground, ink, plotFiles } from "./plot_files.js";

// ---- Plotly's. On the page CSS gives text and grid their colours; the picture needs them in its layout.
function plotlyPng(plot) {
  const text = { color: ink(), size: 12 },
    axes = Object.keys(plot._fullLayout).filter((key) => /^[xy]axis\d*$/.test(key));
  const coloured = Object.fromEntries(
    axes.map((key) => [key, { ...plot.layout[key], tickfont: text, gridcolor: "#8b8a8655" }]),
  );
  const layout = { ...plot.layout, ...coloured, font: { ...plot.layout.font, ...text }, paper_bgcolor: ground() };
  const { offsetWidth: width, offsetHeight: height } = plot;
  return window.Plotly.toImage({ data: plot.data, layout }, { format: "png", width, height, scale: 2 })
    .then((url) => fetch(url))
    .then((reply) => reply.blob());
}

const matrix = ({ name, x, y, z }) =>
  [...y].flatMap((row, r) => [...x].map((column, c) => [name, row, column, z[r]?.[c]]));
function series(trace) {
  const { name, x = [], y = [], theta, r, error_x: reach } = trace,
    [first, second] = theta ? [theta, r] : [x, y];
  const known = reach?.array
    ? (index) => [reach.arrayminus?.[index] ?? reach.array[index], reach.array[index]]
    : () => [];
  return Array.from({ length: Math.max(first?.length ?? 0, second?.length ?? 0) }, (_, index) => [
    name,
    first?.[index] ?? index,
    second?.[index],
    ...known(index),
  ]);
}
function plotlyLines(plot) {
  const traces = plot._fullData,
    maps = traces.some(({ type }) => type === "heatmap");
  const head = maps ? ["series", "row", "column", "value"] : ["series", "x", "y"];
  const reaches = traces.some(({ error_x: reach }) => reach?.array) ? ["minus", "plus"] : [];
  return [
    [...head, ...reaches],
    ...traces.flatMap((trace) => (trace.type === "heatmap" ? matrix(trace) : series(trace))),
  ];
}

function equip() {
  for (const box of document.querySelectorAll(".plot")) {
    const plot = box.querySelector(".js-plotly-plot"),
      there = box.querySelector(".plot-files");
    if (plot && !there)
      box.append(
        plotFiles(
          () => box.id,
          () => plotlyPng(box.querySelector(".js-plotly-plot")),
          () => plotlyLines(box.querySelector(".js-plotly-plot")),
        ),
      );
    if (!plot) there?.remove();
    // A legend of many lines would leave a narrow plot no height; pointing at it names them too.
    if (plot?._fullLayout?.showlegend && plot.clientWidth && plot.clientWidth < 420 && plot.data.length > 4)
      window.Plotly.relayout(plot, { showlegend: false });
  }
}

// ---- The timeline of a player: a line at the frame that is shown, and a click goes to a frame.
function follow({ player, frame }) {
  const plot = document.getElementById(player + "-timeline")?.querySelector(".js-plotly-plot");
  const area = plot?._fullLayout;
  if (!area?.xaxis) return;
  if (!plot.dailiesFollows) {
    plot.dailiesFollows = true;
    plot.on("plotly_click", (event) =>
      document.dispatchEvent(new CustomEvent("dailies:seek", { detail: { player, frame: event.points[0].x } })),
    );
  }
  const line = plot.querySelector(".playhead") ?? plot.appendChild(make("div", { className: "playhead" }));
  line.style.left = area.xaxis._offset + area.xaxis.d2p(frame) + "px";
  line.style.top = area.yaxis._offset + "px";
  line.style.height = area.yaxis._length + "px";
}
document.addEventListener("dailies:frame", (event) => follow(event.detail));

// ---- Plots take the width that they are given: Plotly itself only looks when the window changes.
// A plot that is drawn in a hidden tab has a default width until its box is shown.
const observed = new WeakSet();
const misfits = (box) => {
  const plot = box.querySelector(".js-plotly-plot");
  const drawn = plot?._fullLayout?.width;
  return Boolean(drawn && plot.clientWidth && Math.abs(drawn - plot.clientWidth) > 1);
};
const fit = (boxes) => requestAnimationFrame(() => boxes.some(misfits) && dispatchEvent(new Event("resize")));
const measured = new ResizeObserver((entries) => fit(entries.map(({ target }) => target)));

function measure() {
  for (const plot of document.querySelectorAll(".plot")) {
    if (observed.has(plot)) continue;
    observed.add(plot);
    measured.observe(plot);
  }
}

new MutationObserver(() => {
  equip();
  measure();
}).observe(document.body, { childList: true, subtree: true });
