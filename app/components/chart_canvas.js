// The painting of one chart of curves on its canvas.
import { nearest, short } from "./curve_data.js";

export const LEFT = 46;
export const RIGHT = 6;
const BOTTOM = 18;
const TOP = 8;

function bounds(lines) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of lines) {
    left = Math.min(left, x[0]);
    right = Math.max(right, x[x.length - 1]);
    for (const value of y) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (right <= left) {
    left -= 0.5;
    right += 0.5;
  }
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.5;
  return { left, right, low: low - room, high: high + room };
}

// A tick's number with as many digits as tell it from its neighbours.
function label(value, step) {
  const size = Math.abs(value);
  if (value === 0 || size >= 1e5 || step < 1e-4) return value === 0 ? "0" : short(value);
  return value.toFixed(Math.max(0, Math.min(5, -Math.floor(Math.log10(step) + 1e-9))));
}

// Up to `count` + 1 round numbers from `low` to `high`, at least `least` apart, with their labels.
function ticks(low, high, count, least = 0) {
  const rough = Math.max((high - low) / count, least),
    unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((by) => by * unit).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step)
    found.push(Math.abs(at) < step / 1e6 ? 0 : at);
  return found.map((at) => [at, label(at, step)]);
}

// The lines with the logarithms of their values; values that are not above 0 are left out.
const logarithms = (lines) =>
  lines.flatMap((line) => {
    const kept = [...line.y.keys()].filter((index) => line.y[index] > 0);
    if (!kept.length) return [];
    return [{ ...line, x: kept.map((index) => line.x[index]), y: kept.map((index) => Math.log10(line.y[index])) }];
  });

// A value of a chart's lines, which are logarithms on a logarithmic axis.
export const valueOf = (chart, y) => (chart.log ? 10 ** y : y);

// Paint `chart` = {name, title, figure, canvas}; `scene` = {state, lines, colourOf, dashOf}.
export function paintChart(chart, scene) {
  const { state, colourOf, dashOf } = scene,
    scaled = state.log ? logarithms(scene.lines) : [];
  chart.log = scaled.length > 0;
  const lines = chart.log ? scaled : scene.lines;
  const { canvas } = chart,
    width = canvas.clientWidth,
    height = canvas.clientHeight;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  chart.lines = lines;
  if (!lines.length) return;
  const box = bounds(lines);
  const px = (x) => LEFT + ((x - box.left) / (box.right - box.left)) * (width - LEFT - RIGHT);
  const py = (y) => TOP + (1 - (y - box.low) / (box.high - box.low)) * (height - TOP - BOTTOM);
  Object.assign(chart, { box, px, py });
  grid(pen, chart, state.axis, scene.axes[state.axis], width, height);
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
  marks(pen, chart, state, height);
  if (state.hover !== null) cursor(pen, chart, scene, height);
  const last = lines.find((line) => line.run === state.looked) ?? lines[0],
    now = short(valueOf(chart, last.y[last.y.length - 1]));
  chart.figure.querySelector(".now").textContent = now;
  canvas.setAttribute("aria-label", chart.title + ": " + now);
}

function dot(pen, x, y, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, 2.5, 0, 7);
  pen.fill();
}

function grid(pen, chart, axis, title, width, height) {
  const { canvas, box, px, py } = chart;
  const style = getComputedStyle(canvas),
    ink = style.getPropertyValue("--body-text-color-subdued"),
    faint = style.getPropertyValue("--border-color-primary");
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
    pen.fillText(chart.log ? short(10 ** y) : text, LEFT - 5, py(y));
  }
  pen.textBaseline = "alphabetic";
  pen.textAlign = "center";
  const room = pen.measureText(title).width + 16;
  for (const [x, text] of ticks(box.left, box.right, 4, axis === "time" ? 0 : 1)) {
    if (px(x) < width - RIGHT - room) pen.fillText(text, Math.max(LEFT + 6, px(x)), height - 4);
  }
  pen.textAlign = "right";
  pen.fillText(title, width - RIGHT, height - 4);
}

export const placeOf = (alarm, axis) => alarm[axis];

function marks(pen, { box, px, lines }, state, height) {
  for (const { run } of lines) {
    for (const alarm of state.alarms[run] ?? []) {
      const at = placeOf(alarm, state.axis);
      const x = px(at);
      if (at < box.left || at > box.right) continue;
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

function cursor(pen, { canvas, box, px, py, lines }, { state, colourOf }, height) {
  if (state.hover < box.left || state.hover > box.right) return;
  pen.strokeStyle = getComputedStyle(canvas).getPropertyValue("--color-accent");
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(px(state.hover), TOP);
  pen.lineTo(px(state.hover), height - BOTTOM);
  pen.stroke();
  for (const { run, x, y } of lines) {
    const at = nearest(x, state.hover);
    dot(pen, px(x[at]), py(y[at]), colourOf(run));
  }
}
