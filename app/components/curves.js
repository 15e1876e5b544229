// Curves of several runs. Asks `server.news({runs, axis, have, looked})` for what is new, only while somebody can see it.
// Events: "look_at" {id}: a run was chosen; "sets_changed" {id}: it has more samples than before.
const { words, colours } = props;
const { stamp, visible, listen } = window.dailies;
const $ = (selector) => element.querySelector(selector);
const ASK_MS = 2000, BUSY_MS = 60, RETRY_MS = 4000, MOST_POINTS = 1500, LEFT = 46, BOTTOM = 18, TOP = 8, RIGHT = 6;
const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
const KEPT = "dailies.monitor";
const read = () => { try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; } };
const state = {
  runs: [], chosen: null, looked: null, axis: "step", smoothing: 0, groups: [], alarms: {}, sets: null,
  series: new Map(), asks: 0, hover: null, ...read(),
};
const charts = new Map(); // metric -> {figure, canvas, name}
let timer = null, asking = false, generation = 0;

function keep() {
  localStorage.setItem(KEPT, JSON.stringify({ chosen: state.chosen, axis: state.axis, smoothing: state.smoothing }));
}

// ---- Asking
const watched = () => visible(element) && !document.hidden;

function schedule(after = ASK_MS) {
  clearTimeout(timer);
  timer = watched() ? setTimeout(ask, after) : null;
}

async function ask() {
  if (asking) return;
  asking = true;
  const of = generation;
  const have = Object.fromEntries([...state.series].map(([run, one]) => [run, [one.epoch, one.step]]));
  try {
    state.asks += 1;
    const news = await server.news({ runs: state.chosen, axis: state.axis, have, looked: state.looked });
    asking = false;
    if (!element.isConnected) return;
    if (of !== generation) return schedule(0); // what was asked for is no longer wanted
    take(news);
  } catch {
    asking = false;
    $(".said").textContent = words.unreachable;
    schedule(RETRY_MS);
  }
}

function again() { // another choice: what is under way is dropped
  generation += 1;
  keep();
  schedule(0);
}

// ---- Taking news in
const unpack = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

function joined(old, more) {
  const both = new Float32Array(old.length + more.length);
  both.set(old);
  both.set(more, old.length);
  return both;
}

function take(news) {
  if (news.problem) { $(".said").textContent = news.problem; return schedule(RETRY_MS); }
  $(".said").textContent = news.left ? words.reading.replace("{left}", Math.ceil(news.left / 1e6)) : "";
  if (state.chosen === null) state.chosen = news.chosen;
  state.runs = news.runs;
  state.alarms = news.alarms;
  for (const run of [...state.series.keys()]) if (!news.chosen.includes(run)) state.series.delete(run);
  for (const [run, part] of Object.entries(news.series)) takeSeries(run, part);
  const grouped = JSON.stringify(news.groups);
  if (grouped !== state.grouped) { state.grouped = grouped; layOut(news.groups); }
  paintRuns();
  paintAlarms();
  paintEmpty(news);
  paintAll();
  look(news.looked, news.sets);
  schedule(news.left ? BUSY_MS : ASK_MS);
}

function takeSeries(run, part) {
  const one = part.whole ? { data: new Map() } : state.series.get(run) ?? { data: new Map() };
  for (const [name, [x, y]] of Object.entries(part.data)) {
    const old = one.data.get(name), more = [unpack(x), unpack(y)];
    one.data.set(name, old ? [joined(old[0], more[0]), joined(old[1], more[1])] : more);
  }
  const longest = Math.max(0, ...[...one.data.values()].map(([x]) => x.length));
  Object.assign(one, { epoch: longest > MOST_POINTS ? -1 : part.epoch, step: part.step }); // -1: thin it out again
  state.series.set(run, one);
}

function look(run, sets) {
  if (run !== state.looked) {
    state.looked = run;
    state.sets = sets;
    paintRuns();
    if (run) trigger("look_at", { id: run });
  } else if (sets !== state.sets) {
    state.sets = sets;
    if (run) trigger("sets_changed", { id: run });
  }
}

// ---- Layout
const colourOf = (run) => colours[Math.max(0, state.chosen.indexOf(run)) % colours.length];
const dashOf = (run) => DASHES[Math.floor(Math.max(0, state.chosen.indexOf(run)) / colours.length) % DASHES.length];

function make(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

function layOut(groups) {
  const known = new Set([...element.querySelectorAll(".group")].map((group) => group.dataset.key));
  const closed = new Set([...element.querySelectorAll(".group:not([open])")].map((group) => group.dataset.key));
  charts.clear();
  $(".groups").replaceChildren(...groups.map((group) => {
    const box = make("details", "group");
    box.dataset.key = group.key;
    box.open = known.has(group.key) ? !closed.has(group.key) : !words.closed.includes(group.key);
    box.addEventListener("toggle", paintAll);
    const grid = make("div", "charts");
    grid.append(...group.charts.map(makeChart));
    box.append(make("summary", "", group.title), grid);
    return box;
  }));
  element.querySelectorAll(".chart").forEach((figure) => seen.observe(figure));
}

function makeChart({ name, title }) {
  const figure = make("figure", "chart"), caption = make("figcaption", ""), canvas = make("canvas", "");
  figure.dataset.metric = name;
  caption.append(make("span", "", title), make("span", "now"));
  canvas.setAttribute("role", "img");
  const tip = make("div", "tip");
  tip.hidden = true;
  figure.append(caption, canvas, tip);
  const chart = { name, title, figure, canvas, tip, inView: false };
  canvas.addEventListener("pointermove", (event) => hover(chart, event));
  canvas.addEventListener("pointerleave", () => hover(null));
  charts.set(name, chart);
  return figure;
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.get(entry.target.dataset.metric);
    if (!chart) continue;
    chart.inView = entry.isIntersecting;
    if (chart.inView) paint(chart);
  }
}, { rootMargin: "200px" });
new ResizeObserver(() => requestAnimationFrame(paintAll)).observe($(".main"));

// ---- Painting lists
function paintRuns() {
  const list = $(".runs");
  while (list.children.length > state.runs.length) list.lastElementChild.remove();
  while (list.children.length < state.runs.length) list.append(stamp($("template")));
  state.runs.forEach((run, index) => {
    const row = list.children[index], drawn = (state.chosen ?? []).includes(run.id);
    window.dailies.fill(row, run);
    row.dataset.id = run.id;
    row.classList.toggle("is-looked", run.id === state.looked);
    row.querySelector("input").checked = drawn;
    row.querySelector("input").setAttribute("aria-label", run.id);
    row.querySelector(".swatch").style.background = drawn ? colourOf(run.id) : "";
    row.querySelector(".state").textContent = [run.state_text, run.where].filter(Boolean).join(", ");
    row.querySelector(".pick").setAttribute("aria-pressed", run.id === state.looked);
  });
}

function paintAlarms() {
  const all = Object.entries(state.alarms).flatMap(([run, found]) => found.map((alarm) => ({ run, ...alarm })));
  $(".alarms").hidden = all.length === 0;
  $(".alarms summary").textContent = words.alarms + " (" + all.length + ")";
  $(".alarms ul").replaceChildren(...all.map(({ run, step, sentence }) =>
    make("li", "", words.alarm.replace("{step}", step).replace("{run}", run).replace("{sentence}", sentence))));
}

function paintEmpty(news) {
  const words_ = news.empty ?? (state.chosen.length === 0 ? { title: words.pick, hint: "" } : news.groups.length ? null : { title: words.waiting, hint: "" });
  $(".empty").hidden = !words_;
  $(".empty h3").textContent = words_?.title ?? "";
  $(".empty p").textContent = words_?.hint ?? "";
}

// ---- Painting curves
function smoothed(values) {
  const keepShare = state.smoothing;
  if (!keepShare) return values;
  const found = new Float32Array(values.length);
  let mean = 0, weight = 0;
  for (let index = 0; index < values.length; index += 1) { // its beginning is not pulled towards 0
    mean = keepShare * mean + (1 - keepShare) * values[index];
    weight = keepShare * weight + (1 - keepShare);
    found[index] = mean / weight;
  }
  return found;
}

function linesOf(name) {
  return (state.chosen ?? []).flatMap((run) => {
    const points = state.series.get(run)?.data.get(name);
    return points ? [{ run, x: points[0], y: smoothed(points[1]) }] : [];
  });
}

function bounds(lines) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of lines) {
    left = Math.min(left, x[0]);
    right = Math.max(right, x[x.length - 1]);
    for (const value of y) { if (value < low) low = value; if (value > high) high = value; }
  }
  if (right <= left) { left -= 0.5; right += 0.5; }
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.5;
  return { left, right, low: low - room, high: high + room };
}

const short = (value) => {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(1);
  return String(Number(value.toPrecision(size >= 1000 ? 4 : 3)));
};

// A tick's number with as many digits as tell it from its neighbours.
function label(value, step) {
  const size = Math.abs(value);
  if (value === 0 || size >= 1e5 || step < 1e-4) return value === 0 ? "0" : short(value);
  return value.toFixed(Math.max(0, Math.min(5, -Math.floor(Math.log10(step) + 1e-9))));
}

function ticks(low, high, count) {
  const rough = (high - low) / count, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((by) => by * unit).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(Math.abs(at) < step / 1e6 ? 0 : at);
  return found.map((at) => [at, label(at, step)]);
}

function paintAll() {
  charts.forEach((chart) => chart.inView && paint(chart));
}

function paint(chart) {
  const { canvas } = chart, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const lines = (chart.lines = linesOf(chart.name));
  if (!lines.length) return;
  const box = bounds(lines);
  const px = (x) => LEFT + ((x - box.left) / (box.right - box.left)) * (width - LEFT - RIGHT);
  const py = (y) => TOP + (1 - (y - box.low) / (box.high - box.low)) * (height - TOP - BOTTOM);
  Object.assign(chart, { box, px, py });
  grid(pen, chart, width, height);
  for (const line of lines) {
    pen.strokeStyle = colourOf(line.run);
    pen.lineWidth = line.run === state.looked ? 2 : 1.3;
    pen.globalAlpha = lines.length > 8 && line.run !== state.looked ? 0.7 : 1;
    pen.setLineDash(dashOf(line.run));
    pen.beginPath();
    line.x.forEach((x, index) => pen[index ? "lineTo" : "moveTo"](px(x), py(line.y[index])));
    pen.stroke();
    if (line.x.length === 1) dot(pen, px(line.x[0]), py(line.y[0]), colourOf(line.run));
  }
  pen.globalAlpha = 1;
  pen.setLineDash([]);
  marks(pen, chart, height);
  if (state.hover !== null) cursor(pen, chart, height);
  const last = lines.find((line) => line.run === state.looked) ?? lines[0], now = short(last.y[last.y.length - 1]);
  chart.figure.querySelector(".now").textContent = now;
  canvas.setAttribute("aria-label", chart.title + ": " + now);
}

function dot(pen, x, y, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, 2.5, 0, 7);
  pen.fill();
}

function grid(pen, { box, px, py }, width, height) {
  const style = getComputedStyle(element), ink = style.getPropertyValue("--body-text-color-subdued"), faint = style.getPropertyValue("--border-color-primary");
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = ink;
  pen.strokeStyle = faint;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const [y, text] of ticks(box.low, box.high, 4)) {
    pen.beginPath();
    pen.moveTo(LEFT, py(y));
    pen.lineTo(width - RIGHT, py(y));
    pen.stroke();
    pen.fillText(text, LEFT - 5, py(y));
  }
  pen.textBaseline = "alphabetic";
  pen.textAlign = "center";
  const unit = state.axis === "time" ? " min" : "";
  for (const [x, text] of ticks(box.left, box.right, 4)) {
    if (px(x) < width - RIGHT - 14) pen.fillText(text + unit, Math.max(LEFT + 6, px(x)), height - 4);
  }
}

const placeOf = (alarm) => (state.axis === "time" ? alarm.time : alarm.step);

function marks(pen, { box, px, lines }, height) {
  for (const { run } of lines) {
    for (const alarm of state.alarms[run] ?? []) {
      const x = px(placeOf(alarm));
      if (placeOf(alarm) < box.left || placeOf(alarm) > box.right) continue;
      pen.strokeStyle = pen.fillStyle = "#c2513f";
      pen.lineWidth = 1;
      pen.setLineDash([2, 3]);
      pen.beginPath();
      pen.moveTo(x, TOP);
      pen.lineTo(x, height - BOTTOM);
      pen.stroke();
      pen.setLineDash([]);
      pen.beginPath();
      pen.moveTo(x - 5, 0);
      pen.lineTo(x + 5, 0);
      pen.lineTo(x, 8);
      pen.fill();
    }
  }
}

// ---- Hovering: one place on the axis, in all charts
function nearest(list, x) {
  let [low, high] = [0, list.length - 1];
  while (high - low > 1) { const middle = (low + high) >> 1; if (list[middle] < x) low = middle; else high = middle; }
  return Math.abs(list[low] - x) <= Math.abs(list[high] - x) ? low : high;
}

function hover(chart, event) {
  if (!chart?.box) state.hover = null;
  else {
    const share = (event.offsetX - LEFT) / (chart.canvas.clientWidth - LEFT - RIGHT);
    state.hover = chart.box.left + Math.max(0, Math.min(1, share)) * (chart.box.right - chart.box.left);
  }
  charts.forEach((other) => { other.tip.hidden = other !== chart || state.hover === null; });
  if (state.hover !== null) showTip(chart);
  paintAll();
}

function cursor(pen, { box, px, py, lines }, height) {
  if (state.hover < box.left || state.hover > box.right) return;
  pen.strokeStyle = getComputedStyle(element).getPropertyValue("--color-accent");
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(px(state.hover), TOP);
  pen.lineTo(px(state.hover), height - BOTTOM);
  pen.stroke();
  for (const { run, x, y } of lines) { const at = nearest(x, state.hover); dot(pen, px(x[at]), py(y[at]), colourOf(run)); }
}

function showTip(chart) {
  const place = state.axis === "time" ? short(state.hover) + " min" : words.at_step.replace("{step}", Math.round(state.hover));
  const rows = chart.lines.slice(0, 8).map(({ run, x, y }) => {
    const row = make("div", ""), swatch = make("i", "");
    swatch.style.background = colourOf(run);
    row.append(swatch, short(y[nearest(x, state.hover)]) + "  " + run);
    return row;
  });
  const reach = (chart.box.right - chart.box.left) / 40;
  const near = chart.lines.flatMap(({ run }) => (state.alarms[run] ?? []).filter((alarm) => Math.abs(placeOf(alarm) - state.hover) < reach));
  chart.tip.replaceChildren(make("b", "", place), ...rows, ...near.slice(0, 3).map((alarm) => make("p", "", alarm.sentence)));
  const right = chart.px(state.hover) > chart.canvas.clientWidth / 2;
  chart.tip.style.left = right ? "" : chart.px(state.hover) + 12 + "px";
  chart.tip.style.right = right ? chart.canvas.clientWidth - chart.px(state.hover) + 12 + "px" : "";
}

// ---- Hands
element.addEventListener("change", (event) => {
  const run = event.target.closest(".run")?.dataset.id;
  if (!run) return;
  state.chosen = event.target.checked ? [...state.chosen, run] : state.chosen.filter((one) => one !== run);
  again();
});
element.addEventListener("click", (event) => {
  const bulk = event.target.closest("[data-do]"), axis = event.target.closest("[data-axis]"), pick = event.target.closest(".pick");
  if (bulk) { state.chosen = bulk.dataset.do === "all" ? state.runs.map((run) => run.id) : []; again(); }
  if (axis && axis.dataset.axis !== state.axis) { setAxis(axis.dataset.axis); again(); }
  if (pick) { look(pick.closest(".run").dataset.id, null); state.sets = null; paintAll(); again(); }
});

function setAxis(axis) {
  state.axis = axis;
  state.series.clear();
  paintBar();
}

function paintBar() {
  for (const button of element.querySelectorAll("[data-axis]")) button.setAttribute("aria-pressed", button.dataset.axis === state.axis);
  $(".smoothing input").value = state.smoothing;
  $(".smoothing output").textContent = Number(state.smoothing).toFixed(2);
}

$(".smoothing input").addEventListener("input", (event) => {
  state.smoothing = Number(event.target.value);
  keep();
  paintBar();
  paintAll();
});

listen(element, "visibilitychange", () => schedule(0));
new IntersectionObserver(() => schedule(0)).observe(element); // a hidden tab was shown again
new MutationObserver(() => requestAnimationFrame(paintAll)).observe(document.body, { attributes: true, attributeFilter: ["class"] });
element.curves = { state, charts };
paintBar();
schedule(0);
